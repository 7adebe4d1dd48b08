// A composite at work: overall progress, the recipe's graph coloured by state, what the finished steps delivered.
import { amount } from "./relay.js";
import { html, Media, safeUrl, useEffect, useRef, useState } from "./ui.js";

const read = (id) => JSON.parse(document.getElementById(id)?.textContent || "null");
const names = read("names") ?? {};

/** What people call a key. */
export const name = (pubkey) => names[pubkey] ?? `${pubkey.slice(0, 8)}…`;

const GOOD = new Set(["accepted", "cached"]), BAD = new Set(["failed", "lost", "refused", "rejected", "late"]);
const words = {
  planned: "waits for the steps before", asked: "looking for a seller", quoted: "has a price", ordered: "ordered", billed: "billed",
  paying: "being paid", paid: "at work", delivered: "delivered, being checked", fetched: "being checked", gated: "checked", accepted: "done",
};
export const look = (state) => (GOOD.has(state) ? "done" : BAD.has(state) ? "bad" : state === "planned" ? "" : "now");

/** The steps as the node's journal has them, renewed whenever a live feedback moves one; `live` is the map from the tags. */
export function useSteps(id, live, over) {
  const [told, setTold] = useState(() => read("begun") ?? { steps: [], choices: [] });
  const fingerprint = [...live.values()].map((step) => `${step.name}${step.index}${step.state}`).join();
  useEffect(() => {
    if (!fingerprint && !over) return;
    const timer = setTimeout(() => fetch(`/job/${id}/steps.json`).then((answer) => answer.ok && answer.json()).then((found) => found && setTold(found)).catch(() => {}), 250);
    return () => clearTimeout(timer);
  }, [fingerprint, over]);
  const known = new Map(told.steps.map((step) => [`${step.name}.${step.index}`, { ...step, by: step.provider }]));
  for (const [key, step] of live) {
    const before = known.get(key);
    known.set(key, {
      label: `${step.name}${step.index > 0 ? ` ${Number(step.index) + 1}` : ""}`, ...before, name: step.name, by: step.by || before?.by, part: step.part,
      state: before?.done || before?.failed ? before.state : step.state, paid_msat: Math.max(step.msat, before?.paid_msat ?? 0),
    });
  }
  return { steps: [...known.values()], choices: told.choices };
}

export function Progress({ steps, words: said }) {
  if (steps.length < 2) return null;
  const part = steps.reduce((sum, step) => sum + (look(step.state) === "done" ? 1 : look(step.state) === "now" ? Math.max(0.1, step.part || 0) : 0), 0) / steps.length;
  const done = steps.filter((step) => look(step.state) === "done").length;
  return html`<div class="panel overall"><div class="row spread"><b>${done} of ${steps.length} steps done</b><span class="soft small">${said}</span></div>
    <progress max="1" value=${part} aria-label="Progress of the whole job" /></div>`;
}

export function Graph({ steps }) {
  const at = useRef();
  useEffect(() => {
    const drawn = document.getElementById("graph");
    if (drawn && at.current && !at.current.firstChild) at.current.append(drawn.content.cloneNode(true));
  }, []);
  useEffect(() => {
    const byName = new Map();
    for (const step of steps) byName.set(step.name, [...(byName.get(step.name) ?? []), look(step.state)]);
    for (const box of at.current?.querySelectorAll("[data-step]") ?? []) {
      const all = byName.get(box.dataset.step) ?? [];
      box.classList.remove("done", "now", "bad");
      if (all.includes("bad")) box.classList.add("bad");
      else if (all.length && all.every((state) => state === "done")) box.classList.add("done");
      else if (all.some((state) => state)) box.classList.add("now");
    }
  });
  return document.getElementById("graph") ? html`<div class="panel graph" ref=${at} tabindex="0" role="group" aria-label="The recipe; the steps beside say the same" />` : null;
}

/** A gallery of what the steps delivered so far. */
export function Artefacts({ steps }) {
  const made = steps.filter((step) => step.artefact && (safeUrl(step.artefact.url) || step.artefact.text));
  if (!made.length) return null;
  return html`<section aria-label="Made so far"><ul class="made" id="made">${made.map((step) => html`<li key=${step.label}><${Artefact} step=${step} />
    <p class="small"><b>${step.label}</b> <span class="soft">by ${step.by ? html`<a href=${`/service/${step.by}`}>${name(step.by)}</a>` : "Timmy"}</span></p></li>`)}</ul></section>`;
}

function Artefact({ step }) {
  const { url, mime, text } = step.artefact;
  if (safeUrl(url) && /^(image|video|audio)\//.test(mime)) return html`<${Media} url=${url} mime=${mime} alt=${step.label} still />`;
  return html`<blockquote class="small" tabindex="0">${told(text)}</blockquote>`;
}

/** A story as its title and lines; other text as it is. */
function told(text) {
  try {
    const { title, lines } = JSON.parse(text);
    return [title, ...(lines ?? [])].filter(Boolean).join("\n") || text;
  } catch {
    const found = [...(text ?? "").matchAll(/"((?:[^"\\]|\\.){12,})"/g)].map((match) => match[1]);
    return /^\s*[{[]/.test(text ?? "") && found.length ? found.join("\n") : text;
  }
}

export function Steps({ steps }) {
  if (!steps.length) return null;
  return html`<h3>Steps</h3><ol class="steps" id="steps">${steps.map((step) => html`
    <li class=${look(step.state)} key=${`${step.name}.${step.index}`}><b>${step.label ?? step.name}</b>
      <span><span class="soft small">${words[step.state] ?? step.state}${step.by ? html`, <a href=${`/service/${step.by}`}>${name(step.by)}</a>` : ""}${step.tries > 1 ? `, try ${step.tries}` : ""}</span>
        ${look(step.state) === "now" ? html`<progress max="1" value=${step.part || null} aria-label=${`${step.label} progress`} />` : null}</span>
      <span class="price">${step.paid_msat ? amount(step.paid_msat) : ""}</span></li>`)}</ol>`;
}

/** Why each seller was hired: the table that Timmy wrote into his journal with the order. */
export function Choices({ choices }) {
  if (!choices.length) return null;
  return html`<section class="panel" id="choices"><h3>Why these sellers</h3>
    <p class="small soft">For each step Timmy weighs price, score, liveness and speed, and takes the least cost at risk.</p>
    ${choices.map((choice) => html`<details><summary><b>${choice.step}</b>: ${choice.winner}${choice.alone ? html` <span class="soft small">the only one who offered</span>` : ""}</summary>
      <div class="scroll"><table class="small"><thead><tr>${choice.columns.map((column) => html`<th>${column}</th>`)}</tr></thead>
      <tbody>${choice.rows.map((row) => html`<tr>${row.map((cell, i) => html`<td class=${i && i < row.length - 1 ? "n" : ""}>${cell}</td>`)}</tr>`)}</tbody></table></div></details>`)}</section>`;
}
