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
  job.running = job.feedback.some(isWork);
  job.began = job.feedback.find(isWork)?.created_at;
  job.claim = Number(last && isWork(last) ? (tag(last, "claim") ?? 0) : 0);
  return job;
}

/** A feedback or result of an encrypted job, opened for its customer; for others it stays as it is. */
export async function open(event, me) {
  if (!tags(event, "encrypted").length || !me) return event;
  try {
    const text = await me.decrypt(event.pubkey, event.content);
    if (event.kind !== 7000) return { ...event, content: text };
    const inner = JSON.parse(text);
    const content = inner.find((t) => t[0] === "content")?.[1] ?? "";
    return { ...event, tags: [...event.tags, ...inner.filter((t) => t[0] !== "content")], content };
  } catch {
    return event;
  }
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

/** The files of a result: every imeta tag, else the bare URL in the content. Each has url, m, x, alt. */
export function files(event) {
  const fields = (t) =>
    Object.fromEntries(t.slice(1).map((pair) => [pair.split(" ")[0], pair.slice(pair.indexOf(" ") + 1)]));
  const found = tags(event, "imeta")
    .map(fields)
    .filter((file) => safeUrl(file.url));
  const bare = event.content.trim();
  if (!found.length && safeUrl(bare)) found.push({ url: bare, m: tag(event, "m") ?? guess(bare), x: tag(event, "x") });
  return found;
}
