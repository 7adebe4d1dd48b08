// What a job's events say, whatever order they came in: a pure function of them. And how encrypted ones are opened.
import { tag, tags } from "./relay.js";
import { safeUrl } from "./ui.js";

const FINAL = new Set(["success", "error"]);
const ORDER = { "payment-required": 0, processing: 1, partial: 1 }; // within one second, a bill comes before the work
const rank = (event) => (event.kind === 7000 ? (ORDER[tag(event, "status")?.toLowerCase()] ?? 2) : 3);
export const isResult = (event) => event.kind >= 6000 && event.kind < 7000;
const isWork = (event) => ["processing", "partial"].includes(tag(event, "status")?.toLowerCase());

/** Everything known of the job `id`. Where it names a seller, only that seller's bills and results count. */
export function fold(events, id, provider) {
  const ordered = [...events.values()].sort((a, b) => a.created_at - b.created_at || rank(a) - rank(b));
  const job = {
    request: events.get(id),
    feedback: [],
    results: [],
    receipts: [],
    reviews: [],
    cancelled: null,
    steps: new Map(),
  };
  for (const event of ordered) {
    const theirs = !provider || event.pubkey === provider;
    if (event.kind === 7000 && theirs) {
      job.feedback.push(event);
      for (const [, name, index, state, by, msat, part] of tags(event, "step"))
        job.steps.set(`${name}.${index}`, { name, index, state, by, msat: Number(msat || 0), part: Number(part || 0) });
    } else if (isResult(event) && theirs) job.results.push(event);
    else if (event.kind === 7190) job.receipts.push(event);
    else if (event.kind === 31117) job.reviews.push(event);
    else if (event.kind === 5 && event.pubkey === job.request?.pubkey) job.cancelled = event;
  }
  const last = job.feedback.at(-1);
  const said = last ? (tag(last, "status") ?? "").toLowerCase().replace("_", "-") : "asked";
  job.state = job.results.length ? "success" : job.cancelled ? "cancelled" : said;
  job.bill = job.feedback.findLast((event) => tags(event, "amount").some((t) => t[2]));
  job.over = job.results.length > 0 || FINAL.has(job.state) || job.state === "cancelled";
  // What is sold sealed (docs/chaining.md 7) is billed after the work, in the same second as the last word of it.
  if (job.bill && !job.over && tags(job.bill, "sealed").length) job.state = "payment-required";
  job.running = job.feedback.some(isWork);
  job.began = job.feedback.find(isWork)?.created_at;
  job.claim = Number(last && isWork(last) ? (tag(last, "claim") ?? 0) : 0);
  return job;
}

const add = (event, more, content) => ({ ...event, content, tags: [...event.tags, ...more] });

/** An event of an encrypted job, opened for its customer; for others it stays as it is. */
export async function open(event, me) {
  if (!me) return event;
  try {
    if (!tags(event, "encrypted").length) return await withKey(event, me);
    const peer = event.pubkey === me.pubkey ? tag(event, "p") : event.pubkey;
    const text = await me.decrypt(peer, event.content);
    if (isResult(event)) {
      const sealed = tag(event, "private");
      return await withKey(add(event, sealed ? JSON.parse(await me.decrypt(peer, sealed)) : [], text), me);
    }
    const inner = JSON.parse(text);
    const content = inner.find((t) => t[0] === "content")?.[1] ?? "";
    return add(event, inner.filter((t) => t[0] !== "content"), content);
  } catch {
    return event;
  }
}

/** A result whose file is sold sealed (docs/chaining.md 7) names the key for its buyer: put with the file's facts. */
async function withKey(event, me) {
  const [, cipher, nonce, sealed, ox, m] = tags(event, "sealed")[0] ?? [];
  if (!isResult(event) || cipher !== "aes-gcm" || !sealed || tag(event, "p") !== me.pubkey) return event;
  const seal = ["encryption-algorithm aes-gcm", `decryption-key ${await me.decrypt(event.pubkey, sealed)}`];
  const fields = [...seal, `decryption-nonce ${nonce}`, `ox ${ox ?? ""}`, `m ${m ?? ""}`];
  const x = tag(event, "x");
  const others = event.tags.filter((t) => t[0] !== "imeta");
  return { ...event, tags: [...others, ["imeta", `url ${event.content}`, ...(x ? [`x ${x}`] : []), ...fields]] };
}

/** What opens a sealed file (NIP-17's file messages); null for a file in clear. */
function sealOf(file) {
  if (file["encryption-algorithm"]?.toLowerCase() !== "aes-gcm") return null;
  const { "decryption-key": key = "", "decryption-nonce": nonce = "", ox = "" } = file;
  return /^[0-9a-f]{64}$/i.test(key) && /^([0-9a-f]{2}){12,16}$/i.test(nonce) ? { key, nonce, ox } : null;
}

const MIMES = {
  png: "image/png",
  webp: "image/webp",
  jpg: "image/jpeg",
  mp4: "video/mp4",
  m4a: "audio/mp4",
  mp3: "audio/mpeg",
  wav: "audio/wav",
};
export const guess = (url) => MIMES[url.trim().split(".").pop()] ?? "";

/** The files of a result: every imeta tag, else the bare URL in the content. Each has url, m, x, alt; `seal` opens it. */
export function files(event) {
  const fields = (t) =>
    Object.fromEntries(t.slice(1).map((pair) => [pair.split(" ")[0], pair.slice(pair.indexOf(" ") + 1)]));
  const found = tags(event, "imeta")
    .map(fields)
    .filter((file) => safeUrl(file.url))
    .map((file) => ({ ...file, seal: sealOf(file) }));
  const bare = event.content.trim();
  if (!found.length && safeUrl(bare)) found.push({ url: bare, m: tag(event, "m") ?? guess(bare), x: tag(event, "x") });
  return found;
}
