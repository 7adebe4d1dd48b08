// Work for people: announce skills, find tasks, claim with a timer, deliver, see earnings. All signed with the person's key.
import { amount, node, now, relay, tag, tags } from "./relay.js";
import { html, Media, render, safeUrl, useEffect, useReducer, useState } from "./ui.js";
import { connect, connected, forget, makeInvoice } from "./nwc.js";
import { signInAsGuest, who } from "./who.js";

const kinds = JSON.parse(document.getElementById("kinds").textContent);
const LEASE = 1800, BEAT = 240;
const store = (state, event) => new Map(state).set(event.id, event);
const param = (event, name) => tags(event, "param").find((t) => t[1] === name)?.[2];
const inputs = (event) => tags(event, "i");

async function sendFeedback(me, task, status, note, extra = []) {
  await relay.publish(await me.sign({
    kind: 7000, created_at: now(), content: note, tags: [["e", task.id, node.relay], ["p", task.pubkey], ["status", status, note], ...extra],
  }));
}

function useClock() {
  const [at, tick] = useState(now());
  useEffect(() => {
    const timer = setInterval(() => tick(now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return at;
}

function Skills({ me, mine, live, setLive }) {
  const [said, setSaid] = useState("");
  const about = mine ? JSON.parse(mine.content) : {};
  const announce = async (event) => {
    event.preventDefault();
    const data = new FormData(event.target);
    const chosen = data.getAll("kind");
    try {
      if (!chosen.length) throw new Error("Choose at least one skill.");
      const words = { name: data.get("name"), about: data.get("about"), lud16: data.get("lud16"), amount: String(Number(data.get("price")) || 0), supportsEncryption: false, nip90Params: {} };
      const profile = await me.sign({ kind: 0, created_at: now(), content: JSON.stringify({ name: words.name, about: words.about, lud16: words.lud16 }), tags: [] });
      const offer = await me.sign({
        kind: 31990, created_at: now(), content: JSON.stringify(words),
        tags: [["d", "human"], ...chosen.map((kind) => ["k", kind]), ["t", "human"], ...String(data.get("tags")).split(/[\s,]+/).filter(Boolean).map((word) => ["t", word.toLowerCase()]), ["relays", node.relay]],
      });
      const inboxes = await me.sign({ kind: 10002, created_at: now(), content: "", tags: [["r", node.relay]] });
      for (const made of [profile, inboxes, offer]) await relay.publish(made);
      setSaid("Announced.");
      setLive(true);
    } catch (error) { setSaid(error.message); }
  };
  return html`<details class="panel" open=${!mine}><summary><b>${mine ? "Your skills" : "Announce what you can do"}</b></summary><form onSubmit=${announce}>
    <div class="field"><label for="name">Name</label><input id="name" name="name" required maxlength="60" value=${about.name} /></div>
    <div class="field"><label for="about">What you do well</label><textarea id="about" name="about" required maxlength="600">${about.about}</textarea></div>
    <fieldset class="field"><legend>You take</legend>${kinds.map(([kind, title]) => html`<label class="row"><input type="checkbox" name="kind" value=${kind} checked=${mine ? mine.tags.some((t) => t[0] === "k" && t[1] === String(kind)) : kind === 5820} />${title} <span class="soft small">${kind}</span></label>`)}</fieldset>
    <div class="row"><div class="field grow"><label for="price">Usual price (${node.credits ? "credits" : "sat"})</label><input id="price" name="price" inputmode="numeric" pattern="[0-9]*" value=${about.amount ?? "1000"} /></div>
    <div class="field grow"><label for="tags">Words people search for</label><input id="tags" name="tags" placeholder="voice-over, portrait" /></div></div>
    <div class="field"><label for="lud16">Lightning address for your pay <span class="soft">optional; you can also give an invoice with each delivery</span></label><input id="lud16" name="lud16" placeholder="you@wallet.example" value=${about.lud16} /></div>
    <button>${mine ? "Announce again" : "Announce"}</button></form></details><p role="status" class="small">${said}</p>`;
}

/** The worker's own wallet: it writes the invoices, the page never holds money. */
function Wallet() {
  const [there, setThere] = useState(Boolean(connected()));
  const [said, setSaid] = useState("");
  const link = (event) => {
    event.preventDefault();
    try { connect(new FormData(event.target).get("uri")); setThere(true); } catch (error) { setSaid(error.message); }
  };
  if (there) return html`<p class="small">Your wallet writes the invoices. <button class="plain small" onClick=${() => { forget(); setThere(false); }}>Forget it</button></p>`;
  return html`<details class="panel"><summary><b>Get paid by invoice</b> <span class="soft small">connect a wallet that may make invoices</span></summary><form onSubmit=${link}>
    <label for="uri">Wallet connection <span class="soft">(NWC; it stays in this tab)</span></label>
    <div class="row"><input class="grow" id="uri" name="uri" placeholder="nostr+walletconnect://…" autocomplete="off" /><button class="plain">Connect</button></div></form><p role="status" class="small">${said}</p></details>`;
}

/** Receipts whose preimage fits their payment hash, by job: money that came. */
function usePaid(me) {
  const [paid, setPaid] = useState(new Map());
  useEffect(() => (me ? relay.subscribe([{ kinds: [7190], "#p": [me.pubkey], limit: 500 }], async (event) => {
    const preimage = tag(event, "preimage");
    if (!/^[0-9a-f]{64}$/.test(preimage ?? "")) return;
    const hash = await crypto.subtle.digest("SHA-256", Uint8Array.from(preimage.match(/../g), (pair) => parseInt(pair, 16)));
    if ([...new Uint8Array(hash)].map((b) => b.toString(16).padStart(2, "0")).join("") === tag(event, "payment_hash"))
      setPaid((before) => new Map(before).set(tag(event, "e"), Number(tag(event, "amount") || 0)));
  }) : undefined), [me?.pubkey]);
  return paid;
}

function Deliver({ me, task, done }) {
  const [said, setSaid] = useState("");
  const form = param(task, "form");
  const upload = async (file) => {
    const body = await file.arrayBuffer();
    const hash = [...new Uint8Array(await crypto.subtle.digest("SHA-256", body))].map((b) => b.toString(16).padStart(2, "0")).join("");
    const leave = await me.sign({ kind: 24242, created_at: now(), content: `Upload ${file.name}`, tags: [["t", "upload"], ["x", hash], ["expiration", String(now() + 300)]] });
    const answer = await fetch("/upload", { method: "PUT", body, headers: { "Content-Type": file.type || "application/octet-stream", Authorization: `Nostr ${btoa(JSON.stringify(leave))}` } });
    if (!answer.ok) throw new Error(answer.headers.get("X-Reason") || `The upload failed (${answer.status}).`);
    return answer.json();
  };
  const send = async (event) => {
    event.preventDefault();
    const data = new FormData(event.target);
    setSaid("Sending…");
    try {
      const file = data.get("file");
      const blob = file?.size ? await upload(file) : null;
      const text = form === "yes-no" ? JSON.stringify({ answer: data.get("answer"), why: data.get("text") }) : data.get("text");
      if (!blob && !text.trim()) throw new Error("Attach a file or write the answer.");
      const price = Math.round(Number(data.get("price") || 0) * 1000);
      const given = String(data.get("invoice") || "").trim();
      const invoice = !given && price && connected() ? await makeInvoice(price, param(task, "title") ?? "Work") : given;
      const files = blob ? [["x", blob.sha256], ["m", blob.type], ["imeta", `url ${blob.url}`, `m ${blob.type}`, `x ${blob.sha256}`, `size ${blob.size}`]] : [];
      await relay.publish(await me.sign({
        kind: task.kind + 1000, created_at: now(), content: blob ? blob.url : text,
        tags: [["request", JSON.stringify(task)], ["e", task.id, node.relay], ["p", task.pubkey], ...inputs(task), ...files, ["engine", "a person"], ["status", "success"],
          ...(price ? [["amount", String(price), ...(invoice ? [invoice] : [])]] : [])],
      }));
      await sendFeedback(me, task, "success", "Delivered.");
      done();
    } catch (error) { setSaid(error.message); }
  };
  return html`<form onSubmit=${send}>
    ${form === "yes-no" ? html`<fieldset class="field"><legend>Your verdict</legend><label class="row"><input type="radio" name="answer" value="yes" required />Yes</label><label class="row"><input type="radio" name="answer" value="no" />No</label></fieldset>` : null}
    <div class="field"><label for=${`t${task.id}`}>${form ? "Why" : "Answer"} <span class="soft">or a file below</span></label><textarea id=${`t${task.id}`} name="text" /></div>
    <div class="field"><label for=${`f${task.id}`}>File</label><input id=${`f${task.id}`} name="file" type="file" /></div>
    <div class="row"><div class="field grow"><label for=${`a${task.id}`}>Your pay</label><input id=${`a${task.id}`} name="price" inputmode="numeric" value=${Number(tag(task, "bid") || 0) / 1000} /></div>
    <div class="field grow"><label for=${`b${task.id}`}>Invoice <span class="soft">${connected() ? "your wallet makes it" : "optional"}</span></label><input id=${`b${task.id}`} name="invoice" placeholder="lnbc…" autocomplete="off" /></div></div>
    <button>Deliver</button> <span role="status">${said}</span></form>`;
}

function Task({ me, task, claims, results, at, paid }) {
  const [said, setSaid] = useState("");
  const held = claims.filter((event) => Number(tag(event, "claim")) > at).sort((a, b) => a.created_at - b.created_at)[0];
  const mine = held?.pubkey === me.pubkey;
  const answer = results.find((event) => event.pubkey === me.pubkey);
  const left = held ? Number(tag(held, "claim")) - at : 0;
  const claim = async () => {
    try { await sendFeedback(me, task, "processing", "Taken by a person.", [["claim", String(now() + LEASE)]]); } catch (error) { setSaid(error.message); }
  };
  const release = () => sendFeedback(me, task, "processing", "Given back.", [["claim", "0"]]);
  return html`<li class="panel" data-item><div class="row spread"><h3>${param(task, "title") ?? inputs(task)[0]?.[1]?.slice(0, 90) ?? `kind ${task.kind}`}</h3><span class="price">${tag(task, "bid") ? amount(Number(tag(task, "bid"))) : "no price named"}</span></div>
    ${inputs(task).map(([, value, type]) => (type === "url" && safeUrl(value) ? html`<p><a href=${safeUrl(value)} rel="noopener nofollow" target="_blank">${value.slice(0, 90)} ↗</a></p><${Media} url=${value} mime=${/\.(png|jpe?g|webp)$/i.test(value) ? "image/png" : /\.(mp4|webm)$/i.test(value) ? "video/mp4" : ""} alt="input" />` : html`<p>${value.slice(0, 2000)}</p>`))}
    <p class="soft small">Asked ${new Date(task.created_at * 1000).toLocaleString()}${tag(task, "expiration") ? `, wanted by ${new Date(Number(tag(task, "expiration")) * 1000).toLocaleString()}` : ""}</p>
    ${answer ? html`<p><span class="badge good">delivered</span> ${paid ? html`<span class="badge money">paid ${amount(paid)}</span>` : tag(answer, "amount") ? html`<span class="soft small">waiting for the pay</span>` : null}</p>`
      : mine ? html`<p><b class="mono" role="timer">${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}</b> left <button class="plain small" onClick=${release}>Give it back</button></p><${Deliver} me=${me} task=${task} done=${() => {}} />`
      : held ? html`<p class="soft">Somebody works on it.</p>` : html`<button onClick=${claim}>Take it</button> <span role="status">${said}</span>`}</li>`;
}

function Inbox() {
  const [me, setMe] = useState(undefined);
  const [offer, setOffer] = useState(null);
  const [live, setLive] = useState(false);
  const [tasks, addTask] = useReducer(store, new Map());
  const [news, hear] = useReducer(store, new Map());
  const at = useClock();
  const paid = usePaid(me);
  useEffect(() => {
    const look = async () => setMe(await who());
    look();
    document.addEventListener("timmy:who", look);
    return () => document.removeEventListener("timmy:who", look);
  }, []);
  useEffect(() => (me ? relay.subscribe([{ kinds: [31990], authors: [me.pubkey] }], (event) => tag(event, "d") === "human" && setOffer(event)) : undefined), [me?.pubkey]);
  const skills = offer ? tags(offer, "k").map((t) => Number(t[1])) : [5820];
  useEffect(() => {
    if (!me) return;
    const since = now() - 7 * 86400;
    const stops = [relay.subscribe([{ kinds: skills, since, limit: 100 }], addTask),
      relay.subscribe([{ kinds: [7000, ...skills.map((kind) => kind + 1000)], since, limit: 500 }], hear)];
    return () => stops.forEach((stop) => stop());
  }, [me?.pubkey, skills.join()]);
  useEffect(() => {
    if (!me || !live) return;
    const beat = async () => relay.publish(await me.sign({ kind: 11998, created_at: now(), content: "", tags: [["d", "human"], ["status", "ready"], ["expiration", String(now() + 300)]] })).catch(() => {});
    beat();
    const timer = setInterval(beat, BEAT * 1000);
    return () => clearInterval(timer);
  }, [me?.pubkey, live]);
  if (me === undefined) return html`<p class="soft">Looking…</p>`;
  if (!me) return html`<div class="empty"><h2>Who are you?</h2><p>Sign in above with your Nostr key: your reputation grows under it. To look around, a guest key will do.</p><button onClick=${signInAsGuest}>Look around as a guest</button></div>`;
  const all = [...news.values()];
  const open = [...tasks.values()].filter((task) => {
    const to = tags(task, "p").map((t) => t[1]);
    const done = all.some((event) => event.kind === task.kind + 1000 && tag(event, "e") === task.id && event.pubkey !== me.pubkey);
    return (!to.length || to.includes(me.pubkey)) && !done && Number(tag(task, "expiration") ?? Infinity) > at;
  }).sort((a, b) => b.created_at - a.created_at);
  const delivered = all.filter((event) => event.kind >= 6000 && event.kind < 7000 && event.pubkey === me.pubkey);
  const asked = delivered.reduce((sum, event) => sum + Number(tag(event, "amount") || 0), 0);
  const earned = delivered.reduce((sum, event) => sum + (paid.get(tag(event, "e")) ?? 0), 0);
  return html`<div class="row spread"><label class="row"><input type="checkbox" role="switch" checked=${live} onChange=${(e) => setLive(e.target.checked)} />I am available now <span class=${`dot ${live ? "live" : ""}`} /></label>
      </div>
    <div class="numbers"><div><b>${delivered.length}</b><span>delivered</span></div><div><b>${amount(earned).replace("free", "0")}</b><span>earned, proven by receipts</span></div><div><b>${amount(Math.max(0, asked - earned)).replace("free", "0")}</b><span>asked for, not yet seen</span></div></div>
    <${Skills} me=${me} mine=${offer} live=${live} setLive=${setLive} />
    <${Wallet} />
    <h2>Open tasks</h2>${open.length ? html`<ul class="steps" id="tasks" aria-live="polite">${open.map((task) => html`<${Task} key=${task.id} me=${me} task=${task} at=${at} paid=${paid.get(task.id)}
      claims=${all.filter((event) => event.kind === 7000 && tag(event, "e") === task.id && tag(event, "claim") !== undefined)} results=${all.filter((event) => event.kind === task.kind + 1000 && tag(event, "e") === task.id)} />`)}</ul>`
      : html`<div class="empty"><h3>Nothing to do right now</h3><p>New tasks appear here by themselves. Announce your skills so that others find you.</p></div>`}`;
}

render(html`<${Inbox} />`, document.getElementById("inbox"));
