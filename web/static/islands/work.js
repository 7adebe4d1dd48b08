// A composite at work: the recipe's graph lighting up, where the money went, what the finished steps delivered.
import { amount } from "./relay.js";
import { html, Media, safeUrl, useEffect, useRef, useState } from "./ui.js";

export const begun = JSON.parse(document.getElementById("begun")?.textContent || "{}");
const names = { ...begun.names };

/** What people call a key. */
export const name = (pubkey) => names[pubkey] ?? `${pubkey.slice(0, 8)}…`;
export const titleOf = (kind) => begun.kinds?.[kind]?.[0] ?? `kind ${kind}`;
const tradeOf = (kind) => begun.kinds?.[kind]?.[1] ?? "other";

const GOOD = new Set(["accepted", "cached", "replaced"]),
  BAD = new Set(["failed", "lost", "refused", "rejected", "late"]);
const words = {
  planned: "waits",
  asked: "looking for a seller",
  quoted: "has a price",
  ordered: "ordered",
  billed: "billed",
  paying: "being paid",
  paid: "at work",
  delivered: "being checked",
  fetched: "being checked",
  gated: "checked",
  accepted: "done",
  cached: "done before",
  replaced: "another stands in",
};
export const look = (state) => (GOOD.has(state) ? "done" : BAD.has(state) ? "bad" : state === "planned" ? "" : "now");

/** The steps as the node's journal has them, renewed when a live feedback moves one; `live` is the map from the tags. */
export function useSteps(id, live, over) {
  const [told, setTold] = useState(() => ({ steps: begun.steps ?? [], choices: begun.choices ?? [] }));
  const fingerprint = [...live.values()].map((step) => `${step.name}${step.index}${step.state}`).join();
  useEffect(() => {
    if (!fingerprint && !over) return undefined;
    const timer = setTimeout(async () => {
      const answer = await fetch(`/job/${id}/steps.json`).catch(() => null);
      if (!answer?.ok) return; // the relay is away: the next feedback asks again
      const found = await answer.json();
      Object.assign(names, found.names);
      setTold(found);
    }, 250);
    return () => clearTimeout(timer);
  }, [fingerprint, over]);
  const known = new Map(told.steps.map((step) => [`${step.name}.${step.index}`, { ...step, by: step.provider }]));
  for (const [key, step] of live) {
    const before = known.get(key);
    const label = `${step.name.includes("~") ? `judge of ${step.name.split("~")[0]}` : step.name}${step.index > 0 ? ` ${Number(step.index) + 1}` : ""}`;
    const settled = before?.done || before?.failed;
    known.set(key, {
      label,
      ...before,
      name: step.name,
      index: step.index,
      by: step.by || before?.by,
      part: step.part,
      state: settled ? before.state : step.state,
      paid_msat: Math.max(step.msat, before?.paid_msat ?? 0),
    });
  }
  return { steps: [...known.values()], choices: told.choices };
}

/** How much of the whole is done, 0 to 1. */
export const share = (steps) =>
  steps.reduce((sum, step) => sum + ({ done: 1, now: Math.max(0.1, step.part || 0) }[look(step.state)] ?? 0), 0) /
  (steps.length || 1);

const byName = (steps) => {
  const found = new Map();
  for (const step of steps) found.set(step.name, [...(found.get(step.name) ?? []), step]);
  return found;
};

const overall = (runs) => {
  const states = runs.map((step) => look(step.state));
  if (states.includes("bad") && !states.includes("now")) return "bad";
  if (states.length && states.every((state) => state === "done")) return "done";
  return states.some(Boolean) ? "now" : "";
};

/** Put the steps' states into the server's drawing. */
function paint(root, steps) {
  const runs = byName(steps),
    states = new Map();
  for (const box of root.querySelectorAll("[data-step]")) {
    const mine = runs.get(box.dataset.step) ?? [];
    const state = overall(mine),
      paid = mine.reduce((sum, step) => sum + (step.paid_msat || 0), 0);
    states.set(box.dataset.step, state);
    box.classList.remove("done", "now", "bad");
    if (state) box.classList.add(state);
    box.classList.toggle("paid", paid > 0);
    const by = mine.find((step) => step.by)?.by;
    if (by) box.querySelector(".who").textContent = name(by).slice(0, 20);
    if (paid) box.querySelector(".note").textContent = `paid ${amount(paid)}`;
    const shown = mine
      .map((step) => step.artefact?.thumb)
      .filter(Boolean)
      .at(-1);
    if (shown) box.querySelector(".shot").setAttribute("href", shown);
    box.querySelectorAll(".pips rect").forEach((pip, i) => {
      pip.setAttribute("class", mine[i] ? look(mine[i].state) : "");
    });
    box.querySelectorAll(".pips rect").forEach((pip, i) => {
      pip.style.display = mine.length > 1 && i >= mine.length ? "none" : "";
    });
  }
  for (const edge of root.querySelectorAll(".edge")) {
    const [from, to] = [states.get(edge.dataset.from), states.get(edge.dataset.to)];
    edge.classList.toggle("flowed", from === "done" && to === "done");
    edge.classList.toggle("flowing", (from === "done" && to === "now") || (from === "now" && to === "now"));
  }
}

export function Graph({ steps, children }) {
  const at = useRef();
  const drawn = document.getElementById("graph");
  useEffect(() => {
    if (drawn && at.current && !at.current.firstChild) at.current.append(drawn.content.cloneNode(true));
  }, []);
  useEffect(() => {
    if (at.current && steps.length) paint(at.current, steps);
  });
  if (!drawn) return null;
  return html`
    <section class="panel" aria-label="The work">
      <div
        class=${`graph ${steps.some((step) => look(step.state)) ? "live" : ""}`}
        ref=${at}
        tabindex="0"
        role="group"
        aria-label="The recipe as a graph; the list of steps says the same"
      />
      ${children}
    </section>
  `;
}

/** Where the price went: to each step as it is paid, the rest to whoever made the whole. */
export function Money({ price, steps, delivered, seller }) {
  const parts = [...byName(steps)]
    .map(([step, runs]) => ({
      step,
      trade: tradeOf(runs[0].kind),
      msat: runs.reduce((sum, run) => sum + (run.paid_msat || 0), 0),
    }))
    .filter((part) => part.msat);
  if (!price || !parts.length) return null;
  const left = Math.max(0, price - parts.reduce((sum, part) => sum + part.msat, 0));
  const rest = delivered ? ["kept", `${seller} keeps`] : ["left", "not spent yet"];
  return html`
    <div class="money">
      <b class="small">Where the ${amount(price)} ${delivered ? "went" : "go"}</b>
      <div class="track" aria-hidden="true">
        ${parts.map(
          (part) => html`
            <span key=${part.step} class=${`t-${part.trade}`} style=${{ flex: `0 0 ${(100 * part.msat) / price}%` }} />
          `,
        )}
        <span class=${rest[0]} style=${{ flex: 1 }} />
      </div>
      <ul>
        ${parts.map(
          (part) => html`
            <li key=${part.step} class=${`t-${part.trade}`}>
              ${part.step}${" "}
              <b>${amount(part.msat)}</b>
            </li>
          `,
        )}
        <li class=${rest[0]}>
          ${rest[1]}${" "}
          <b>${amount(left).replace("free", "0")}</b>
        </li>
      </ul>
    </div>
  `;
}

/** A gallery of what the steps delivered so far; a click shows a piece in full. */
export function Artefacts({ steps, title }) {
  const [shown, show] = useState(null);
  const made = steps.filter((step) => step.artefact && (safeUrl(step.artefact.url) || step.artefact.text));
  if (!made.length) return null;
  return html`
    <section aria-label="Made on the way">
      ${
        title
          ? html`
              <h2>${title}</h2>
            `
          : null
      }
      <ul class="made" id="made">
        ${made.map(
          (step) => html`
            <${Piece} key=${step.label} step=${step} show=${show} />
          `,
        )}
      </ul>
      ${
        shown
          ? html`
              <${Viewer} step=${shown} close=${() => show(null)} />
            `
          : null
      }
    </section>
  `;
}

function Piece({ step, show }) {
  const { url, mime = "", text, thumb: small } = step.artefact;
  const audio = mime.startsWith("audio/");
  const picture = small
    ? html`
        <img src=${small} alt=${`what “${step.label}” delivered`} width="480" height="270" loading="lazy" />
      `
    : text
      ? html`
          <blockquote>${readable(text)}</blockquote>
        `
      : null;
  const art = html`
    <div class=${`art t-${tradeOf(step.kind)}`}>
      ${picture}${
        mime.startsWith("video/")
          ? html`
              <span class="play" />
            `
          : null
      }${
        audio
          ? html`
              <${Media} url=${url} mime=${mime} alt=${step.label} />
            `
          : null
      }
    </div>
  `;
  return html`
    <li class="card">
      ${
        audio
          ? art
          : html`
              <button type="button" class="open" aria-label=${`Show ${step.label}`} onClick=${() => show(step)}>
                ${art}
              </button>
            `
      }
      <p class="small">
        <b>${step.label}</b>
        ${" "}
        <span class="soft">
          ${
            step.by
              ? html`
                  by${" "}
                  <a href=${`/service/${step.by}`}>${name(step.by)}</a>
                `
              : ""
          }
        </span>
      </p>
    </li>
  `;
}

function Viewer({ step, close }) {
  const dialog = useRef();
  useEffect(() => dialog.current.showModal(), []);
  const { url, mime = "", text } = step.artefact;
  return html`
    <dialog class="viewer" ref=${dialog} onClose=${close} aria-label=${step.label}>
      ${
        safeUrl(url) && /^(image|video|audio)\//.test(mime)
          ? html`
              <${Media} url=${url} mime=${mime} alt=${step.label} />
            `
          : html`
              <pre tabindex="0">${readable(text)}</pre>
            `
      }
      <form method="dialog" class="row spread">
        <span>
          <b>${step.label}</b>
          ${" "}${
            step.paid_msat
              ? html`
                  <span class="price">${amount(step.paid_msat)}</span>
                `
              : null
          }
        </span>
        <button class="plain small">Close</button>
      </form>
    </dialog>
  `;
}

/** A story as its title and lines; other text as it is. */
function readable(text) {
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
  const wide = document.getElementById("graph") && matchMedia("(min-width: 40rem)").matches; // there the graph shows them
  return html`
    <details class="list" open=${!wide}>
      <summary>
        <b>Steps</b>
        ${" "}
        <span class="soft small">${steps.length}</span>
      </summary>
      <ol class="steps" id="steps">
        ${steps.map(
          (step) => html`
            <li class=${look(step.state)} key=${`${step.name}.${step.index}`}>
              <span class="mark" aria-hidden="true" />
              <b>${step.label ?? step.name}</b>
              <span>
                <span class="soft small">
                  ${look(step.state) === "now" && step.part ? "at work" : (words[step.state] ?? step.state)}${
                    step.by
                      ? html`
                          ,${" "}
                          <a href=${`/service/${step.by}`}>${name(step.by)}</a>
                        `
                      : ""
                  }${step.tries > 1 ? `, try ${step.tries}` : ""}
                </span>
                ${
                  look(step.state) === "now" && step.part
                    ? html`
                        <progress max="1" value=${step.part} aria-label=${`${step.label} progress`} />
                      `
                    : null
                }
              </span>
              <span class="price">${step.paid_msat ? amount(step.paid_msat) : ""}</span>
            </li>
          `,
        )}
      </ol>
    </details>
  `;
}

/** Why each seller was hired: the table that Timmy wrote into his journal with the order. */
export function Choices({ choices }) {
  if (!choices.length) return null;
  const contested = choices.filter((choice) => !choice.alone),
    alone = choices.filter((choice) => choice.alone);
  return html`
    <section class="panel" id="choices">
      <h3>Why these sellers</h3>
      <p class="small soft">
        For each step Timmy weighs price, score, liveness and speed, and takes the least cost at risk.
      </p>
      ${contested.map(
        (choice) => html`
          <details key=${choice.step}>
            <summary>
              <b>${choice.step}</b>
              : ${choice.winner}${" "}
              <span class="soft small">of ${choice.rows.length}</span>
            </summary>
            <${Table} choice=${choice} />
          </details>
        `,
      )}
      ${
        alone.length
          ? html`
              <details>
                <summary>
                  ${contested.length ? "Only one offer" : "One offer for each step"}${" "}
                  <span class="soft small">${[...new Set(alone.map((choice) => choice.winner))].join(", ")}</span>
                </summary>
                ${alone.map(
                  (choice) => html`
                    <p class="small">
                      <b>${choice.step}</b>
                      : ${choice.winner}
                    </p>
                    <${Table} choice=${choice} />
                  `,
                )}
              </details>
            `
          : null
      }
    </section>
  `;
}

const Table = ({ choice }) => html`
  <div class="scroll" tabindex="0" role="group" aria-label=${`Candidates for ${choice.step}`}>
    <table class="small">
      <thead>
        <tr>
          ${choice.columns.map(
            (column) => html`
              <th>${column}</th>
            `,
          )}
        </tr>
      </thead>
      <tbody>
        ${choice.rows.map(
          (row) => html`
            <tr>
              ${row.map(
                (cell, i) => html`
                  <td class=${i && i < row.length - 1 ? "n" : ""}>${cell}</td>
                `,
              )}
            </tr>
          `,
        )}
      </tbody>
    </table>
  </div>
`;
