// A job, live: what was asked, the bill, the steps, the result, its receipts, and what the buyer says of it.
import { Bill, digest, proofOf } from "./bill.js";
import { now, relay, tag, tags } from "./relay.js";
import { Audit, Receipts, Review } from "./trust.js";
import { html, Media, render, safeUrl, useEffect, useReducer, useState } from "./ui.js";
import { lib, who } from "./who.js";
import { Artefacts, Choices, Graph, Progress, Steps, useSteps } from "./work.js";

const root = document.getElementById("job");
const id = root.dataset.id;
const RESULTS = Array.from({ length: 1000 }, (_, i) => 6000 + i);
const FINAL = new Set(["success", "error"]);

const ORDER = { "payment-required": 0, processing: 1, partial: 1 }; // within one second, a bill comes before the work
const rank = (event) => (event.kind === 7000 ? ORDER[tag(event, "status")?.toLowerCase()] ?? 2 : 3);

/** Everything known of the job, from its events in any order. */
function fold(events, provider) {
  const ordered = [...events.values()].sort((a, b) => a.created_at - b.created_at || rank(a) - rank(b));
  const job = { request: events.get(id), feedback: [], results: [], receipts: [], reviews: [], cancelled: null, steps: new Map() };
  for (const event of ordered) {
    if (event.kind === 7000 && (!provider || event.pubkey === provider)) {
      job.feedback.push(event);
      for (const [, name, index, state, by, msat, part, seconds] of tags(event, "step"))
        job.steps.set(`${name}.${index}`, { name, index, state, by, msat: Number(msat || 0), part: Number(part || 0), seconds });
    } else if (event.kind >= 6000 && event.kind < 7000 && (!provider || event.pubkey === provider)) job.results.push(event);
    else if (event.kind === 7190) job.receipts.push(event);
    else if (event.kind === 31117) job.reviews.push(event);
    else if (event.kind === 5 && event.pubkey === job.request?.pubkey) job.cancelled = event;
  }
  const last = job.feedback.at(-1);
  job.state = job.results.length ? "success" : job.cancelled ? "cancelled" : last ? tag(last, "status").toLowerCase().replace("_", "-") : "asked";
  job.bill = job.feedback.findLast((event) => tags(event, "amount").some((t) => t[2]));
  job.over = job.results.length > 0 || FINAL.has(job.state) || job.state === "cancelled";
  job.running = job.feedback.some((event) => ["processing", "partial"].includes(tag(event, "status")));
  return job;
}

/** A feedback or result of an encrypted job, opened for its customer; others see that it is private. */
async function open(event, me) {
  if (!tags(event, "encrypted").length || !me) return event;
  try {
    const text = await me.decrypt(event.pubkey, event.content);
    if (event.kind !== 7000) return { ...event, content: text };
    const inner = JSON.parse(text);
    return { ...event, tags: [...event.tags, ...inner.filter((t) => t[0] !== "content")], content: inner.find((t) => t[0] === "content")?.[1] ?? "" };
  } catch {
    return event;
  }
}

function useJob() {
  const [events, add] = useReducer((state, event) => new Map(state).set(event.id, event), new Map());
  const [me, setMe] = useState(null);
  const [up, setUp] = useState(true);
  useEffect(() => {
    let stop = () => {};
    (async () => {
      const signer = await who();
      setMe(signer);
      const { verifyEvent } = await lib();
      const take = async (event) => verifyEvent(event) && add(await open(event, signer));
      stop = relay.subscribe(
        [{ ids: [id] }, { kinds: [7000, 7190, 31117, 5], "#e": [id] }, { kinds: RESULTS, "#e": [id] }], take,
      );
      relay.addEventListener("state", ({ detail }) => setUp(detail));
    })();
    return () => stop();
  }, []);
  return { events, me, up };
}

const words = {
  asked: "Waiting for the seller", "payment-required": "Waiting for the payment", processing: "At work", partial: "At work",
  success: "Delivered", error: "It did not work out", cancelled: "Cancelled", "payment-rejected": "Payment not accepted",
};

function Timeline({ job }) {
  const lines = [];
  if (job.request) lines.push({ at: job.request.created_at, text: "Asked", done: true });
  let before = "";
  for (const event of job.feedback) {
    const [, status, note] = event.tags.find((t) => t[0] === "status") ?? [];
    const text = note || event.content || status;
    if (text === before || /^0 of \d+ steps/.test(text) || (status === "success" && job.results.length)) continue;
    const line = { at: event.created_at, text, bad: status === "error", done: true };
    if (["processing", "partial"].includes(status) && lines.at(-1)?.working) lines.pop();
    lines.push({ ...line, working: ["processing", "partial"].includes(status) });
    before = text;
  }
  if (job.results.length) lines.push({ at: job.results[0].created_at, text: "Delivered", done: true });
  if (job.cancelled) lines.push({ at: job.cancelled.created_at, text: "Cancelled by the buyer", bad: true });
  return html`<ol class="timeline" aria-live="polite">${lines.map((line, i) => html`
    <li class=${line.bad ? "bad" : !job.over && i === lines.length - 1 ? "now" : "done"}>${line.text}
    <span class="soft small"> ${new Date(line.at * 1000).toLocaleTimeString()}</span></li>`)}</ol>`;
}

/** The files of a result: every imeta tag, else the bare URL in the content. */
function files(event) {
  const found = tags(event, "imeta").map((t) => Object.fromEntries(t.slice(1).map((pair) => [pair.split(" ")[0], pair.slice(pair.indexOf(" ") + 1)])));
  if (!found.length && safeUrl(event.content.trim())) found.push({ url: event.content.trim(), m: tag(event, "m") ?? guess(event.content), x: tag(event, "x") });
  return found;
}
const guess = (url) => ({ png: "image/png", webp: "image/webp", jpg: "image/jpeg", mp4: "video/mp4", m4a: "audio/mp4", mp3: "audio/mpeg", wav: "audio/wav" })[url.trim().split(".").pop()] ?? "";

function Result({ event, poster }) {
  const all = files(event);
  return html`<section class="panel" id="result" aria-labelledby="done"><h2 id="done">Here it is</h2>
    ${all.map((file) => html`<${Media} url=${file.url} mime=${file.m} alt=${file.alt} poster=${file.image ?? poster} />
      <p class="row small"><a href=${safeUrl(file.url)} download rel="noopener">Download</a>
      ${file.x ? html`<span class="soft mono" title=${file.x}>sha256 ${file.x.slice(0, 16)}…</span>` : null}</p>`)}
    ${all.length ? null : html`<pre tabindex="0">${event.content}</pre>`}</section>`;
}

function Preview({ job }) {
  const partial = job.feedback.findLast((event) => tag(event, "status") === "partial" && safeUrl(event.content));
  return partial && !job.results.length ? html`<${Media} url=${partial.content} mime=${tag(partial, "m") || guess(partial.content) || "image/png"} alt="preview" />` : null;
}

function Empty({ job, mine }) {
  if (job.over || job.bill || job.running) return null;
  return html`<div class="empty"><h3 class="pulse">${job.request?.tags.some((t) => t[0] === "p") ? "The seller is writing the bill" : "Waiting for somebody to take it"}</h3>
    <p>It comes in a moment and this page shows it by itself.${mine ? " Nothing is paid before you say so." : ""}</p></div>`;
}

function Ended({ job, mine }) {
  if (job.state !== "error" && job.state !== "cancelled") return null;
  const said = job.feedback.at(-1);
  const refund = job.feedback.flatMap((event) => tags(event, "refund")).at(-1);
  return html`<div class="note bad"><b>${job.state === "error" ? "It did not work out." : "Cancelled."}</b> ${job.state === "error" ? said?.tags.find((t) => t[0] === "status")?.[2] || said?.content : ""}
    ${refund ? html`<br />${refund[1] === "due" ? "The money is owed to you and will be paid back." : "Your payment was only locked: it goes back to you by itself."}` : null}
    ${mine ? html`<br /><a href=${`/new/${job.request.kind}?input=${encodeURIComponent(tags(job.request, "i")[0]?.[1] ?? "")}`}>Order it again</a>` : null}</div>`;
}

function Job() {
  const { events, me, up } = useJob();
  const [paid, setPaid] = useState("");
  const job = fold(events, root.dataset.provider);
  const { steps, choices } = useSteps(id, job.steps, job.over);
  const mine = me && job.request && me.pubkey === job.request.pubkey;
  const cancel = async () => {
    await relay.publish(await me.sign({ kind: 5, created_at: now(), content: "cancelled by the buyer", tags: [["e", id], ["k", String(job.request.kind)]] }));
  };
  const poster = steps.find((step) => step.artefact?.mime.startsWith("image/"))?.artefact.url;
  const waiting = job.state === "payment-required" && job.bill && !job.running;
  const busy = !job.over && job.running;
  const after = mine ? job.results.find((event) => tags(event, "amount").some((t) => t[2])) : null;
  const unpaid = after && !paid && !job.bill && !job.receipts.some((event) => event.pubkey === me.pubkey);
  return html`
    ${up ? null : html`<p class="note bad" role="status">The connection to the relay is gone; trying again. Nothing is lost.</p>`}
    <p class="row" role="status" aria-live="polite"><span class=${`dot ${job.over ? (job.state === "success" ? "live" : "") : "late pulse"}`} /> <b id="state">${words[job.state] ?? job.state}</b>
      ${mine && !job.over ? html`<button class="danger small" onClick=${cancel}>Cancel</button>` : null}</p>
    <div class="two"><div>
      <${Ended} job=${job} mine=${mine} />
      ${job.results.slice(0, 1).map((event) => html`<${Result} event=${event} poster=${poster} />`)}
      ${unpaid ? html`<${Bill} bill=${after} id=${id} announced=${Number(tag(job.request, "bid") || 0)} onPaid=${async (way) => { setPaid(way); await thank(me, job, after); }} />` : null}
      ${after && !unpaid ? html`<p class="note">Paid. The worker sees it.</p>` : null}
      <${Empty} job=${job} mine=${mine} />
      ${busy ? html`<${Progress} steps=${steps} words=${job.feedback.at(-1)?.content || ""} />` : null}
      ${waiting && !paid ? html`<${Bill} bill=${job.bill} id=${id} announced=${Number(root.dataset.price || 0)} onPaid=${setPaid} />` : null}
      ${waiting && paid ? html`<p class="note">Paid. The seller starts when its wallet has seen the money.</p>` : null}
      ${busy && !steps.length ? html`<${Alone} job=${job} />` : null}
      <${Preview} job=${job} />
      ${job.results.length ? null : html`<${Artefacts} steps=${steps} /><${Graph} steps=${steps} />`}
      <${Review} job=${job} me=${me} />
      ${job.results.length && steps.length ? html`<h2>How it came about</h2><${Graph} steps=${steps} /><${Artefacts} steps=${steps.filter((step) => step.artefact?.url !== files(job.results[0])[0]?.url)} />` : null}
      <${Audit} job=${job} id=${id} /><${Receipts} job=${job} /><${Choices} choices=${choices} />
    </div><div><div class="panel"><h3>What happened</h3><${Timeline} job=${job} /><${Steps} steps=${steps} /></div></div></div>`;
}

/** The buyer's receipt (7190) for work that was paid after delivery: its preimage tells the worker that the money came. */
async function thank(me, job, result) {
  const proof = proofOf(id);
  const [, msat] = tags(result, "amount")[0];
  if (!proof?.preimage) return;
  const hash = await digest(Uint8Array.from(proof.preimage.match(/../g), (pair) => parseInt(pair, 16)));
  await relay.publish(await me.sign({
    kind: 7190, created_at: now(), content: "",
    tags: [["e", id, "", "request"], ["e", result.id, "", "result"], ["p", result.pubkey], ["k", String(job.request.kind)], ["amount", msat],
      ["payment_hash", hash], ["preimage", proof.preimage], ["alt", "Receipt of a job bought over NIP-90"]],
  }));
}

/** One seller at work, without steps to show. */
function Alone({ job }) {
  const last = job.feedback.at(-1);
  const part = Number(tag(last, "progress"));
  return html`<div class="panel overall"><div class="row spread"><b class="pulse">At work</b><span class="soft small">${last.tags.find((t) => t[0] === "status")?.[2] || last.content}</span></div>
    <progress max="1" value=${part > 0 ? part : null} aria-label="Progress" /></div>`;
}

// An encrypted order is unreadable on the relay; the browser that wrote it remembers the words.
const secret = JSON.parse(sessionStorage.getItem(`timmy.job.${id}`) || "null")?.find((t) => t[0] === "i")?.[1];
if (secret) document.querySelector("h1").textContent = secret.slice(0, 120);
document.getElementById("static")?.remove();
render(html`<${Job} />`, root);
