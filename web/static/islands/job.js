// A job, live: what was asked, the bill, the steps, the result, its receipts, and what the buyer says of it.
import { amount, node, now, relay, tag, tags } from "./relay.js";
import { copy, html, Media, Qr, render, safeUrl, useEffect, useReducer, useState } from "./ui.js";
import { connected, connect, pay as payByConnection } from "./nwc.js";
import { lib, who } from "./who.js";

const root = document.getElementById("job");
const id = root.dataset.id;
const RESULTS = Array.from({ length: 1000 }, (_, i) => 6000 + i);
const FINAL = new Set(["success", "error"]);

/** Everything known of the job, from its events in any order. */
function fold(events, provider) {
  const ordered = [...events.values()].sort((a, b) => a.created_at - b.created_at);
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
    if (text === before) continue;
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

const marks = { accepted: "done", delivered: "done", cached: "done", failed: "bad", lost: "bad", refused: "bad" };

function Steps({ job }) {
  if (!job.steps.size) return null;
  return html`<h3>Steps</h3><ol class="steps" id="steps">${[...job.steps.values()].map((step) => html`
    <li class=${marks[step.state] ?? ""}><b>${step.name}${step.index > 0 ? ` ${Number(step.index) + 1}` : ""}</b>
      <span><span class="soft small">${step.state}${step.by ? html` by <a href=${`/service/${step.by}`}>${step.by.slice(0, 8)}</a>` : ""}</span>
        ${marks[step.state] ? null : html`<progress max="1" value=${step.part || null} aria-label=${`${step.name} progress`} />`}</span>
      <span class="price">${step.msat ? amount(step.msat) : ""}</span></li>`)}</ol>`;
}

function Bill({ job, onPaid }) {
  const [, msat, invoice] = job.bill.tags.find((t) => t[0] === "amount");
  const lines = tags(job.bill, "line");
  const quote = job.bill.tags.find((t) => t[0] === "quote");
  const announced = Number(root.dataset.price || 0);
  const [busy, setBusy] = useState("");
  const [fault, setFault] = useState("");
  const [uri, setUri] = useState("");
  const attempt = (name, work) => async () => {
    setBusy(name);
    setFault("");
    try { await work(); onPaid(name); } catch (error) { setFault(error.message); }
    setBusy("");
  };
  const byCredits = async () => {
    const me = await who();
    const body = JSON.stringify({ invoice, job: id });
    const proof = await me.sign({
      kind: 27235, created_at: now(), content: "", tags: [["u", `${location.origin}/pay`], ["method", "POST"], ["payload", await digest(body)]],
    });
    const answer = await fetch("/pay", { method: "POST", body, headers: { "Content-Type": "application/json", Authorization: `Nostr ${btoa(JSON.stringify(proof))}` } });
    if (!answer.ok) throw new Error((await answer.json()).error);
  };
  const byWebln = async () => { await window.webln.enable(); await window.webln.sendPayment(invoice); };
  const byConnection = async () => { if (!connected()) connect(uri); await payByConnection(invoice); };
  return html`<section class="panel" aria-labelledby="pay"><h2 id="pay">Pay ${amount(Number(msat))}</h2>
    ${announced && Number(msat) > announced ? html`<p class="note bad">The seller announced ${amount(announced)} and now asks for more.</p>` : null}
    ${lines.length ? html`<details><summary>What it is made of</summary><table><tbody>${lines.map(([, name, kind, cost]) => html`
      <tr><td>${name}</td><td class="soft">kind ${kind}</td><td class="n">${amount(Number(cost))}</td></tr>`)}</tbody></table></details>` : null}
    <p class="soft small">You pay ${job.bill.content ? `for: ${job.bill.content}` : "before the work starts"}. If it fails, the seller owes you the money back
      ${quote?.[3] ? `; expected in about ${Math.ceil(quote[3] / 60)} min` : ""}.</p>
    <div class="row">
      ${node.credits && node.guestCredits ? html`<button onClick=${attempt("credits", byCredits)} disabled=${busy}>Pay with this node's credits</button>` : null}
      ${window.webln ? html`<button onClick=${attempt("webln", byWebln)} disabled=${busy}>Pay with your browser's wallet</button>` : null}
      ${connected() ? html`<button onClick=${attempt("nwc", byConnection)} disabled=${busy}>Pay with your connected wallet</button>` : null}
    </div>
    <details><summary>Other ways: QR code, invoice, connect a wallet</summary>
      <div class="row"><a href=${`lightning:${invoice}`}><${Qr} text=${invoice.toUpperCase()} label="Lightning invoice" /></a>
        <div class="grow"><p class="bolt" tabindex="0">${invoice}</p><button class="plain small" onClick=${(e) => copy(invoice, e.target)}>Copy the invoice</button></div></div>
      ${connected() ? null : html`<div class="field"><label for="nwc">Wallet connection <span class="soft">(NWC; give it a budget, it stays in this tab)</span></label>
        <div class="row"><input class="grow" id="nwc" placeholder="nostr+walletconnect://…" autocomplete="off" onInput=${(e) => setUri(e.target.value)} />
        <button class="plain" onClick=${attempt("nwc", byConnection)} disabled=${busy || !uri}>Connect and pay</button></div></div>`}
    </details>
    <p role="status" aria-live="polite">${busy ? "Paying…" : fault}</p></section>`;
}

async function digest(text) {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(hash)].map((b) => b.toString(16).padStart(2, "0")).join("");
}

/** The files of a result: every imeta tag, else the bare URL in the content. */
function files(event) {
  const found = tags(event, "imeta").map((t) => Object.fromEntries(t.slice(1).map((pair) => [pair.split(" ")[0], pair.slice(pair.indexOf(" ") + 1)])));
  if (!found.length && safeUrl(event.content.trim())) found.push({ url: event.content.trim(), m: tag(event, "m") ?? guess(event.content), x: tag(event, "x") });
  return found;
}
const guess = (url) => ({ png: "image/png", webp: "image/webp", jpg: "image/jpeg", mp4: "video/mp4", m4a: "audio/mp4", mp3: "audio/mpeg", wav: "audio/wav" })[url.trim().split(".").pop()] ?? "";

function Result({ event }) {
  const all = files(event);
  return html`<section class="panel" id="result" aria-labelledby="done"><h2 id="done">Here it is</h2>
    ${all.map((file) => html`<${Media} url=${file.url} mime=${file.m} alt=${file.alt} />
      <p class="row small"><a href=${safeUrl(file.url)} download rel="noopener">Download</a>
      ${file.x ? html`<span class="soft mono" title=${file.x}>sha256 ${file.x.slice(0, 16)}…</span>` : null}</p>`)}
    ${all.length ? null : html`<pre tabindex="0">${event.content}</pre>`}</section>`;
}

function Preview({ job }) {
  const partial = job.feedback.findLast((event) => tag(event, "status") === "partial" && safeUrl(event.content));
  return partial && !job.results.length ? html`<${Media} url=${partial.content} mime=${tag(partial, "m") || guess(partial.content) || "image/png"} alt="preview" />` : null;
}

function Review({ job, me }) {
  const [state, setState] = useState("");
  const mine = job.reviews.find((event) => event.pubkey === me?.pubkey);
  if (!job.over || !me || me.pubkey !== job.request?.pubkey) return null;
  if (mine) return html`<section class="panel"><h3>You said</h3><p>${"★".repeat(Number(tag(mine, "rating")))} ${mine.content}</p></section>`;
  const provider = job.results[0]?.pubkey ?? job.feedback[0]?.pubkey;
  const send = async (event) => {
    event.preventDefault();
    const data = new FormData(event.target);
    try {
      const review = await me.sign({
        kind: 31117, created_at: now(), content: data.get("text"),
        tags: [["d", id], ["e", id], ...(job.results[0] ? [["e", job.results[0].id, "", "result"]] : []), ["p", provider], ["k", String(job.request.kind)], ["rating", data.get("stars")], ["role", "customer"]],
      });
      await relay.publish(review);
    } catch (error) { setState(error.message); }
  };
  return html`<section class="panel"><h3>How was it?</h3><form onSubmit=${send}>
    <fieldset class="stars" aria-label="Stars">${[5, 4, 3, 2, 1].map((n) => html`<input type="radio" name="stars" id=${`s${n}`} value=${n} required /><label for=${`s${n}`} title=${`${n} of 5`}><span aria-hidden="true">★</span><span class="hidden">${n} of 5</span></label>`)}</fieldset>
    <div class="field"><label for="say">A word for the next buyer</label><input id="say" name="text" maxlength="500" /></div>
    <button>Publish the review</button><p role="status">${state}</p></form></section>`;
}

function Audit({ job }) {
  const [lines, setLines] = useState(null);
  const rootReceipt = job.results.map((event) => tag(event, "receipt")).find(Boolean);
  useEffect(() => {
    if (rootReceipt) fetch(`/job/${id}/audit.json`).then((answer) => answer.ok && answer.json()).then((found) => found && setLines(found.lines));
  }, [rootReceipt, job.receipts.length]);
  if (!lines) return null;
  return html`<section class="panel" id="audit"><h3>Receipts, audited</h3><div class="scroll"><table><tbody>${lines.map((line) => html`<tr>
    <td><span class=${`badge ${line.verdict === "green" ? "good" : line.verdict === "red" ? "bad" : ""}`}>${line.verdict}</span></td><td>${line.what}</td><td class="soft small">${line.detail}</td></tr>`)}</tbody></table></div></section>`;
}

function Job() {
  const { events, me, up } = useJob();
  const [paid, setPaid] = useState("");
  const job = fold(events, root.dataset.provider);
  const mine = me && job.request && me.pubkey === job.request.pubkey;
  const cancel = async () => {
    await relay.publish(await me.sign({ kind: 5, created_at: now(), content: "cancelled by the buyer", tags: [["e", id], ["k", String(job.request.kind)]] }));
  };
  const waiting = job.state === "payment-required" && job.bill && !job.running;
  return html`
    ${up ? null : html`<p class="note bad" role="status">The connection to the relay is gone; trying again. Nothing is lost.</p>`}
    <p class="row" role="status" aria-live="polite"><span class=${`dot ${job.over ? (job.state === "success" ? "live" : "") : "late pulse"}`} /> <b id="state">${words[job.state] ?? job.state}</b>
      ${mine && !job.over ? html`<button class="danger small" onClick=${cancel}>Cancel</button>` : null}</p>
    <div class="two"><div>
      ${job.results.slice(0, 1).map((event) => html`<${Result} event=${event} />`)}
      <${Preview} job=${job} />
      ${waiting && !paid ? html`<${Bill} job=${job} onPaid=${setPaid} />` : null}
      ${waiting && paid ? html`<p class="note">Paid. The seller starts when its wallet has seen the money.</p>` : null}
      <${Review} job=${job} me=${me} />
      <${Audit} job=${job} />
    </div><div><div class="panel"><h3>What happened</h3><${Timeline} job=${job} /><${Steps} job=${job} /></div></div></div>`;
}

document.getElementById("static")?.remove();
render(html`<${Job} />`, root);
