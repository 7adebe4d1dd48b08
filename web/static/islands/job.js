// A job, live: what was asked, the bill, the work, the result, its receipts, and what the buyer says of it.
import { Bill, proofOf } from "./bill.js";
import { sha256, unhex } from "./bytes.js";
import { files, fold, guess, open } from "./fold.js";
import { amount, now, relay, tag, tags } from "./relay.js";
import { Sealed } from "./sealed.js";
import { Audit, Receipts, Review } from "./trust.js";
import { Away, clock, html, Media, ownPath, render, safeUrl, spell, useEffect, useReducer, useState } from "./ui.js";
import { lib, who } from "./who.js";
import { Artefacts, begun, Choices, Graph, Money, name, share, Steps, useSteps } from "./work.js";

const root = document.getElementById("job");
const { id, provider } = root.dataset;
const usual = Number(root.dataset.usual || 0);
const RESULTS = Array.from({ length: 1000 }, (_, i) => 6000 + i);

const words = {
  asked: "Waiting for the seller",
  "payment-required": "Waiting for the payment",
  processing: "At work",
  partial: "At work",
  success: "Delivered",
  error: "It did not work out",
  cancelled: "Cancelled",
  "payment-rejected": "Payment not accepted",
};

/** What the server knew when it made the page: the first picture needs no socket. */
const told = (list) =>
  new Map(
    list.filter((event) => !tags(event, "encrypted").length || event.id === id).map((event) => [event.id, event]),
  );

function useJob() {
  const [events, add] = useReducer((state, event) => new Map(state).set(event.id, event), begun.events ?? [], told);
  const [me, setMe] = useState(null);
  const [turn, again] = useReducer((count) => count + 1, 0); // who signs in while reading sees their own job
  useEffect(() => {
    let stop = () => {};
    const follow = async () => {
      const [signer, { verifyEvent }] = await Promise.all([who(), lib()]);
      setMe(signer);
      const take = async (event) => verifyEvent(event) && add(await open(event, signer));
      const wanted = [{ ids: [id] }, { kinds: [7000, 7190, 31117, 5], "#e": [id] }, { kinds: RESULTS, "#e": [id] }];
      stop = relay.subscribe(wanted, take);
    };
    follow();
    document.addEventListener("timmy:who", again);
    return () => {
      stop();
      document.removeEventListener("timmy:who", again);
    };
  }, [turn]);
  return { events, me };
}

/** The time, every second while `running`. */
function useClock(running) {
  const [at, tick] = useState(now());
  useEffect(() => {
    if (!running) return undefined;
    const timer = setInterval(() => tick(now()), 1000);
    return () => clearInterval(timer);
  }, [running]);
  return at;
}

function Timeline({ job }) {
  const lines = [];
  if (job.request) lines.push({ at: job.request.created_at, text: "Asked" });
  let before = "";
  for (const event of job.feedback) {
    const [, status, note] = event.tags.find((t) => t[0] === "status") ?? [];
    const bill = status === "payment-required" && tags(event, "amount").find((t) => t[2]);
    const text = bill ? `Bill: ${amount(Number(bill[1]))}` : note || event.content || status;
    const working = ["processing", "partial"].includes(status);
    if (text === before || /^0 of \d+ steps/.test(text) || (status === "success" && job.results.length)) continue;
    if (working && lines.at(-1)?.working) lines.pop();
    lines.push({ at: event.created_at, text, bad: status === "error", working });
    before = text;
  }
  if (job.results.length) lines.push({ at: job.results[0].created_at, text: "Delivered" });
  if (job.cancelled) lines.push({ at: job.cancelled.created_at, text: "Cancelled by the buyer", bad: true });
  return html`
    <ol class="timeline" aria-live="polite">
      ${lines.map(
        (line, i) => html`
          <li class=${line.bad ? "bad" : !job.over && i === lines.length - 1 ? "now" : "done"}>
            ${line.text}
            <span class="soft small nowrap">${" "}${new Date(line.at * 1000).toLocaleTimeString()}</span>
          </li>
        `,
      )}
    </ol>
  `;
}

function Result({ event }) {
  const all = files(event);
  return html`
    <section class="panel" id="result" aria-label="The result">
      ${all.map((file) =>
        file.seal
          ? html`
              <${Sealed} file=${file} />
            `
          : html`
              <${Media} url=${file.url} mime=${file.m} alt=${file.alt} />
              <p class="row small">
                <${Download} url=${file.url} />
                ${
                  file.x
                    ? html`
                        <span class="soft mono" title=${file.x}>sha256 ${file.x.slice(0, 16)}…</span>
                      `
                    : null
                }
              </p>
            `,
      )}
      ${
        all.length
          ? null
          : html`
              <h2>Here it is</h2>
              <pre tabindex="0">${event.content}</pre>
            `
      }
    </section>
  `;
}

const Download = ({ url }) =>
  ownPath(url)
    ? html`
        <a href=${ownPath(url)} download>Download</a>
      `
    : html`
        <${Away} url=${url}>Download from ${new URL(url).host}<//>
      `;

function Preview({ job }) {
  const partial = job.feedback.findLast((event) => tag(event, "status") === "partial" && safeUrl(event.content));
  if (!partial || job.results.length) return null;
  return html`
    <section class="panel" id="preview">
      <h3>A first look</h3>
      <${Media}
        url=${partial.content}
        mime=${tag(partial, "m") || guess(partial.content) || "image/png"}
        alt="preview"
      />
    </section>
  `;
}

function Empty({ job, mine }) {
  if (job.over || job.bill || job.running || !job.request) return null;
  const addressed = job.request.tags.some((t) => t[0] === "p");
  return html`
    <div class="empty">
      <h3 class="pulse">${addressed ? "The seller is writing the bill" : "Waiting for somebody to take it"}</h3>
      <p>It comes in a moment and this page shows it by itself.${mine ? " Nothing is paid before you say so." : ""}</p>
    </div>
  `;
}

function Ended({ job, mine }) {
  if (job.state !== "error" && job.state !== "cancelled") return null;
  const said = job.feedback.at(-1);
  const refund = job.feedback.flatMap((event) => tags(event, "refund")).at(-1);
  const why = job.state === "error" ? said?.tags.find((t) => t[0] === "status")?.[2] || said?.content : "";
  const again = mine ? (tags(job.request, "i")[0]?.[1] ?? "") : "";
  return html`
    <div class="note bad">
      <b>${job.state === "error" ? "It did not work out." : "Cancelled."}</b>
      ${" "}${why}
      ${
        refund
          ? html`
              <br />
              ${refund[1] === "due" ? "The money is owed to you and will be paid back." : "Your payment was only locked: it goes back to you by itself."}
            `
          : null
      }
      ${
        mine
          ? html`
              <br />
              <a href=${`/new/${job.request.kind}?input=${encodeURIComponent(again)}`}>Order it again</a>
            `
          : null
      }
    </div>
  `;
}

/** Where it stands, in words, with the time it takes; the only line a screen reader is told of by itself. */
function State({ job, mine, steps, cancel }) {
  const at = useClock(job.running && !job.over);
  const done = steps.filter((step) => ["accepted", "cached"].includes(step.state)).length;
  const since = job.began && !job.over ? at - job.began : 0;
  const took = job.results.length && job.began ? job.results[0].created_at - job.began : 0;
  return html`
    <div class="state">
      <span role="status" aria-live="polite">
        <span class=${`dot ${job.over ? (job.state === "success" ? "live" : "") : "late pulse"}`} />
        ${" "}
        <b id="state">${words[job.state] ?? job.state}</b>
        ${
          steps.length && job.running && !job.over
            ? html`
                <span class="soft">${" "}${done} of ${steps.length} steps</span>
              `
            : null
        }
      </span>
      ${
        since
          ? html`
              <span class="soft mono">${clock(since)}${usual ? ` of about ${clock(usual)}` : ""}</span>
            `
          : took
            ? html`
                <span class="soft">in ${spell(took)}</span>
              `
            : null
      }
      ${
        job.claim > at && !job.over
          ? html`
              <span class="soft">
                taken for another${" "}
                <span class="mono">${clock(job.claim - at)}</span>
              </span>
            `
          : null
      }
      ${
        mine && !job.over
          ? html`
              <button class="danger small" onClick=${cancel}>Cancel</button>
            `
          : null
      }
    </div>
  `;
}

/** One seller at work, without steps to show. */
function Alone({ job }) {
  const last = job.feedback.at(-1);
  const part = Number(tag(last, "progress"));
  return html`
    <div class="panel overall">
      <p>${last.tags.find((t) => t[0] === "status")?.[2] || last.content || "At work"}</p>
      <progress max="1" value=${part > 0 ? part : null} aria-label="Progress" />
    </div>
  `;
}

function Job() {
  const { events, me } = useJob();
  const [paid, setPaid] = useState("");
  const job = fold(events, id, provider);
  const { steps, choices } = useSteps(id, job.steps, job.over);
  const mine = me && job.request && me.pubkey === job.request.pubkey;
  const asked = job.request ? tags(job.request, "i")[0]?.[1] : "";
  useEffect(() => {
    if (asked && tags(job.request, "encrypted").length) // the server could not read it: its title is the buyer's alone
      document.querySelector("h1").textContent = asked.slice(0, 120);
  }, [asked]);
  const cancel = async () => {
    await relay.publish(
      await me.sign({
        kind: 5,
        created_at: now(),
        content: "cancelled by the buyer",
        tags: [
          ["e", id],
          ["k", String(job.request.kind)],
        ],
      }),
    );
  };
  const [result] = job.results;
  const waiting = job.state === "payment-required" && job.bill;
  const busy = !job.over && job.running && !waiting;
  const after = mine ? job.results.find((event) => tags(event, "amount").some((t) => t[2])) : null;
  const unpaid = after && !paid && !job.bill && !job.receipts.some((event) => event.pubkey === me.pubkey);
  const price = Number(job.bill ? tag(job.bill, "amount") : 0);
  const film = result ? files(result)[0]?.url : "";
  const graph = html`
    <${Graph} steps=${steps}>
      ${
        busy && steps.length > 1
          ? html`
              <progress max="1" value=${share(steps)} aria-label="Progress of the whole job" class="overall" />
            `
          : null
      }
      <${Money}
        price=${price}
        steps=${steps}
        delivered=${Boolean(result)}
        seller=${provider ? name(provider) : "The seller"}
      />
    <//>
  `;
  return html`
    <${State} job=${job} mine=${mine} steps=${steps} cancel=${cancel} />
    <${Ended} job=${job} mine=${mine} />
    ${busy && steps.length ? graph : null}
    <div class="two">
      <div>
        ${
          result
            ? html`
                <${Result} event=${result} />
              `
            : null
        }
        ${
          unpaid
            ? html`
                <${Bill}
                  bill=${after}
                  id=${id}
                  announced=${Number(tag(job.request, "bid") || 0)}
                  onPaid=${async (way) => {
                    setPaid(way);
                    await thank(me, job, after);
                  }}
                />
              `
            : null
        }
        ${
          after && !unpaid
            ? html`
                <p class="note">Paid. The worker sees it.</p>
              `
            : null
        }
        <${Empty} job=${job} mine=${mine} />
        ${
          waiting && !paid
            ? html`
                <${Bill} bill=${job.bill} id=${id} announced=${Number(root.dataset.price || 0)} onPaid=${setPaid} />
              `
            : null
        }
        ${
          waiting && paid
            ? html`
                <p class="note">Paid. The seller starts when its wallet has seen the money.</p>
              `
            : null
        }
        ${
          busy && !steps.length
            ? html`
                <${Alone} job=${job} />
              `
            : null
        }
        <${Preview} job=${job} />
        ${
          result
            ? null
            : html`
                <${Artefacts} steps=${steps} />
              `
        }
      </div>
      <aside>
        <div class="panel">
          <h3>What happened</h3>
          <${Timeline} job=${job} />
          <${Steps} steps=${steps} />
        </div>
        <${Review} job=${job} me=${me} />
      </aside>
    </div>
    ${busy && steps.length ? null : graph}
    ${
      result && steps.length
        ? html`
            <${Artefacts} steps=${steps.filter((step) => step.artefact?.url !== film)} title="Made on the way" />
          `
        : null
    }
    <div class="halves">
      <${Audit} job=${job} id=${id} />
      <${Receipts} job=${job} />
      <${Choices} choices=${choices} />
    </div>
  `;
}

/** The buyer's receipt (7190) for work that was paid after delivery: its preimage tells the worker that the money came. */
async function thank(me, job, result) {
  const proof = proofOf(id);
  const [, msat] = tags(result, "amount")[0];
  if (!proof?.preimage) return;
  await relay.publish(
    await me.sign({
      kind: 7190,
      created_at: now(),
      content: "",
      tags: [
        ["e", id, "", "request"],
        ["e", result.id, "", "result"],
        ["p", result.pubkey],
        ["k", String(job.request.kind)],
        ["amount", msat],
        ["payment_hash", await sha256(unhex(proof.preimage))],
        ["preimage", proof.preimage],
        ["alt", "Receipt of a job bought over NIP-90"],
      ],
    }),
  );
}

document.getElementById("static")?.remove();
render(
  html`
    <${Job} />
  `,
  root,
);
