// Who the visitor is. Signing happens in an extension (NIP-07), in a remote signer (NIP-46), or with a throw-away key that
// lives in this tab's session storage. There is no field for an nsec.
import { hex, sha256, unhex } from "./bytes.js";
import { node, now } from "./relay.js";

const LOGIN = "timmy.login",
  GUEST = "timmy.guest";
let nostr = null,
  current = null;

export const lib = async () => (nostr ??= await import("../vendor/nostr.js"));
const read = (store, key) => JSON.parse(store.getItem(key) || "null");

/** The signer in use: {kind, pubkey, sign(template), encrypt(pubkey, text), decrypt(pubkey, text)}; null for a visitor. */
export async function who() {
  if (current) return current;
  const login = read(localStorage, LOGIN);
  try {
    if (login?.kind === "nip07") current = await fromExtension();
    else if (login?.kind === "nip46") current = await fromBunker(login);
    else if (sessionStorage.getItem(GUEST)) current = await guest();
  } catch (error) {
    console.warn("sign-in is gone:", error.message);
  }
  return current;
}

/** POST to this node with a proof of the visitor's key (NIP-98); gives the answer's JSON, throws what it complains of. */
export async function postAs(me, path, value) {
  const body = JSON.stringify(value);
  const tags = [
    ["u", `${location.origin}${path}`],
    ["method", "POST"],
    ["payload", await sha256(body)],
  ];
  const proof = await me.sign({ kind: 27235, created_at: now(), content: "", tags });
  const headers = { "Content-Type": "application/json", Authorization: `Nostr ${btoa(JSON.stringify(proof))}` };
  const answer = await fetch(path, { method: "POST", body, headers }).catch(() => {
    throw new Error("The node does not answer just now. Try again in a moment: asked twice, it does a thing once.");
  });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

/** The signer, made on the spot as a guest where the visitor has none. */
export const whoOrGuest = async () => (await who()) ?? (await signInAsGuest());

export async function signInAsGuest() {
  current = await guest();
  announce();
  return current;
}

export async function signInWithExtension() {
  if (!window.nostr)
    throw new Error("No extension answers here. Install one such as Alby or nos2x, or continue as a guest.");
  current = await fromExtension();
  localStorage.setItem(LOGIN, JSON.stringify({ kind: "nip07" }));
  announce();
  return current;
}

export async function signInWithBunker(text) {
  const { nip46, generateSecretKey } = await lib();
  const pointer = await nip46.parseBunkerInput(text.trim());
  if (!pointer) throw new Error("That is not a bunker:// address.");
  const login = { kind: "nip46", secret: hex(generateSecretKey()), pointer };
  current = await fromBunker(login, true);
  localStorage.setItem(LOGIN, JSON.stringify(login));
  announce();
  return current;
}

/** A nostrconnect:// address for a QR code, and a promise of the signer that scans it. */
export async function offerConnection() {
  const { nip46, generateSecretKey, getPublicKey } = await lib();
  const secret = generateSecretKey();
  const uri = nip46.createNostrConnectURI({
    clientPubkey: getPublicKey(secret),
    relays: [node.relay],
    secret: hex(generateSecretKey()).slice(0, 16),
    name: node.name,
  });
  const signer = nip46.BunkerSigner.fromURI(secret, uri, {}, 300000).then(async (bunker) => {
    localStorage.setItem(LOGIN, JSON.stringify({ kind: "nip46", secret: hex(secret), pointer: bunker.bp }));
    current = await wrapBunker(bunker);
    announce();
    return current;
  });
  return { uri, signer };
}

export function signOut() {
  localStorage.removeItem(LOGIN);
  sessionStorage.removeItem(GUEST);
  current = null;
  announce();
}

async function guest() {
  const { generateSecretKey, getPublicKey, finalizeEvent, nip44 } = await lib();
  const secret = sessionStorage.getItem(GUEST) ? unhex(sessionStorage.getItem(GUEST)) : generateSecretKey();
  sessionStorage.setItem(GUEST, hex(secret));
  const key = (pubkey) => nip44.getConversationKey(secret, pubkey);
  return {
    kind: "guest",
    pubkey: getPublicKey(secret),
    sign: async (template) => finalizeEvent(template, secret),
    encrypt: async (pubkey, text) => nip44.encrypt(text, key(pubkey)),
    decrypt: async (pubkey, text) => nip44.decrypt(text, key(pubkey)),
  };
}

async function fromExtension() {
  for (let tries = 0; !window.nostr && tries < 20; tries++) await new Promise((done) => setTimeout(done, 50));
  const pubkey = await window.nostr.getPublicKey();
  return {
    kind: "nip07",
    pubkey,
    sign: (template) => window.nostr.signEvent(template),
    encrypt: (to, text) => window.nostr.nip44.encrypt(to, text),
    decrypt: (from, text) => window.nostr.nip44.decrypt(from, text),
  };
}

async function fromBunker({ secret, pointer }, first = false) {
  const { nip46 } = await lib();
  const bunker = nip46.BunkerSigner.fromBunker(unhex(secret), pointer, {
    onauth: (url) => window.open(url, "_blank", "noopener"),
  });
  if (first) await bunker.connect({ name: node.name });
  return wrapBunker(bunker);
}

const wrapBunker = async (bunker) => ({
  kind: "nip46",
  pubkey: await bunker.getPublicKey(),
  sign: (template) => bunker.signEvent(template),
  encrypt: (to, text) => bunker.nip44Encrypt(to, text),
  decrypt: (from, text) => bunker.nip44Decrypt(from, text),
});

const announce = () => document.dispatchEvent(new CustomEvent("timmy:who", { detail: current }));
