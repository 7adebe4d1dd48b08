// Pay through the visitor's own wallet by Nostr Wallet Connect (NIP-47). The connection string stays in this tab.
import { unhex } from "./bytes.js";
import { now } from "./relay.js";
import { lib } from "./who.js";

const STORE = "timmy.nwc";
export const connected = () => sessionStorage.getItem(STORE);
export const forget = () => sessionStorage.removeItem(STORE);

export function connect(text) {
  const uri = new URL(text.trim());
  if (uri.protocol !== "nostr+walletconnect:" || !uri.searchParams.get("secret") || !uri.searchParams.get("relay"))
    throw new Error("That is not a nostr+walletconnect:// address.");
  sessionStorage.setItem(STORE, text.trim());
}

/** Pays once; resolves with the preimage. A missing answer is an unknown outcome, and says so. */
export const pay = async (invoice) =>
  (
    await call(
      "pay_invoice",
      { invoice },
      "Your wallet has not answered. The payment may still go through: do not pay again before you have looked.",
    )
  ).preimage;

/** The preimage of a bill that was paid before; "" while the money is only locked. */
export const preimageOf = async (invoice) =>
  connected() ? ((await call("lookup_invoice", { invoice }, "Your wallet has not answered.")).preimage ?? "") : "";

/** An invoice of the connected wallet. */
export const makeInvoice = async (msat, description) =>
  (await call("make_invoice", { amount: msat, description }, "Your wallet has not answered: no invoice was made."))
    .invoice;

/** True once an invoice of the connected wallet is paid. */
export async function isPaid(invoice) {
  const told = await call("lookup_invoice", { invoice }, "Your wallet has not answered.");
  return told.state === "settled" || Boolean(told.settled_at);
}

/** msat in the connected wallet. */
export const balance = async () => (await call("get_balance", {}, "Your wallet has not answered.")).balance;

async function call(method, params, late) {
  const uri = new URL(sessionStorage.getItem(STORE));
  const service = uri.host || uri.pathname.replace(/\//g, "");
  const secret = unhex(uri.searchParams.get("secret"));
  const relays = uri.searchParams.getAll("relay");
  const { SimplePool, finalizeEvent, getPublicKey, nip44 } = await lib();
  const key = nip44.getConversationKey(secret, service);
  const request = finalizeEvent(
    {
      kind: 23194,
      created_at: now(),
      content: nip44.encrypt(JSON.stringify({ method, params }), key),
      tags: [
        ["p", service],
        ["encryption", "nip44_v2"],
        ["expiration", String(now() + 60)],
      ],
    },
    secret,
  );
  const pool = new SimplePool();
  let answers;
  try {
    const answer = await new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error(late)), 60000);
      answers = pool.subscribe(
        relays,
        { kinds: [23195], authors: [service], "#e": [request.id], "#p": [getPublicKey(secret)] },
        { onevent: resolve },
      );
      Promise.any(pool.publish(relays, request)).catch(() =>
        reject(new Error("The wallet's relay could not be reached; nothing was done.")),
      );
    });
    const { result, error } = JSON.parse(nip44.decrypt(answer.content, key));
    if (error) throw new Error(error.message || error.code);
    return result;
  } finally {
    answers?.close();
    setTimeout(() => pool.close(relays)); // once that has been said to the relay
  }
}
