// Bytes as hexadecimal text, their hash, and files that only one customer can open.
// The browser's own cryptography is used where it is offered: on https and on localhost. In a home network without
// certificates the vendored one does the same.
const native = globalThis.crypto?.subtle;
const own = () => import("../vendor/nostr.js");

export const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
export const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

/** SHA-256 of bytes or text, in hexadecimal. */
export async function sha256(data) {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  return hex(native ? new Uint8Array(await native.digest("SHA-256", bytes)) : (await own()).sha256(bytes));
}

/** The bytes under an AES-256-GCM seal (key and nonce in hexadecimal). Throws where they are not what was sealed. */
export async function unseal(bytes, { key, nonce }) {
  try {
    if (!native) return (await own()).gcm(unhex(key), unhex(nonce)).decrypt(bytes);
    const opener = await native.importKey("raw", unhex(key), "AES-GCM", false, ["decrypt"]);
    return new Uint8Array(await native.decrypt({ name: "AES-GCM", iv: unhex(nonce) }, opener, bytes));
  } catch {
    throw new Error("The key of the result does not open this file.");
  }
}
