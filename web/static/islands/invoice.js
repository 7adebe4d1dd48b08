// What the page reads of an invoice (BOLT11): the hash that its preimage must have.
import { hex, sha256, unhex } from "./bytes.js";

const LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const TAIL = 110; // words of signature and checksum

/** The payment hash of an invoice (BOLT11, field `p`); "" where there is none. */
export function paymentHash(invoice) {
  const words = [...invoice.slice(invoice.lastIndexOf("1") + 1).toLowerCase()].map((letter) => LETTERS.indexOf(letter));
  for (let at = 7; at + 3 < words.length - TAIL; at += 3 + words[at + 1] * 32 + words[at + 2])
    if (words[at] === 1 && words[at + 1] * 32 + words[at + 2] === 52) {
      const bits = words.slice(at + 3, at + 55).map((word) => word.toString(2).padStart(5, "0"));
      const bytes = bits.join("").slice(0, 256).match(/.{8}/g);
      return hex(bytes.map((byte) => parseInt(byte, 2)));
    }
  return "";
}

/** True if this text is the preimage of the invoice: whoever has it has paid, or was paid. */
export const proves = async (preimage, invoice) =>
  /^[0-9a-f]{64}$/i.test(preimage) && (await sha256(unhex(preimage))) === paymentHash(invoice);
