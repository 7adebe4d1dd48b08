// After the job: the receipts and their audit, and what the buyer says of the seller, bound to the payment.
import { proofOf, settledProof, tellProof } from "./bill.js";
import { sha256, unhex } from "./bytes.js";
import { amount, node, now, relay, tag, tags } from "./relay.js";
import { html, useEffect, useState } from "./ui.js";
import { name } from "./work.js";

/** A review (31117) and its mirror (1985), with the tags that bind it to the payment where this browser made it. */
async function reviewEvents(me, job, stars, text) {
  const provider = job.results[0]?.pubkey ?? job.feedback[0]?.pubkey;
  const proof = await settledProof(job.request.id);
  const result = job.results[0]?.id;
  const secret = tags(job.request, "encrypted").length > 0; // then nothing of what was opened goes into a public review
  const receipt = !secret && job.results[0] && tag(job.results[0], "receipt");
  const file = !secret && job.results[0] && tag(job.results[0], "x");
  const list = [
    ["d", job.request.id],
    ["e", job.request.id, node.relay, "request"],
    ...(result ? [["e", result, node.relay, "result"]] : []),
    ...(receipt ? [["e", receipt, node.relay, "receipt"]] : []),
    ["p", provider],
    ["k", String(job.request.kind)],
    ["rating", String(stars)],
    ["role", "customer"],
    ...(result || stars > 2 ? [] : [["grounds", "undelivered"]]),
  ];
  if (proof?.preimage) {
    list.push(["payment_hash", await sha256(unhex(proof.preimage))], ["amount", String(proof.msat)]);
    // The bill of an encrypted job is secret: its preimage would prove nothing and link the payment to the job.
    if (!secret) list.push(["preimage", proof.preimage]);
  }
  if (file) list.push(["x", file]);
  const review = await me.sign({
    kind: 31117,
    created_at: now(),
    content: text,
    tags: [...list, ["alt", `Review of a job of kind ${job.request.kind}: ${stars} of 5`]],
  });
  const label = stars >= 3 ? "service-quality" : proof ? "dispute" : "warning";
  const mirror = await me.sign({
    kind: 1985,
    created_at: now(),
    content: text,
    tags: [
      ["L", "ai.wot"],
      ["l", label, "ai.wot"],
      ["p", provider],
      ["e", review.id, node.relay, "review"],
      ...(result ? [["e", result, node.relay, "result"]] : []),
      ["alt", `Label: ${label}`],
    ],
  });
  return [review, mirror];
}

export function Review({ job, me }) {
  const [state, setState] = useState("");
  const reviews = job.reviews.filter(
    (event) => (tag(event, "role") ?? "customer") === "customer" && event.pubkey === job.request?.pubkey,
  );
  const mine = reviews.find((event) => event.pubkey === me?.pubkey);
  const others = reviews.filter((event) => event.pubkey !== me?.pubkey);
  const answers = job.reviews.filter(
    (event) => tag(event, "role") === "provider" && event.pubkey === (job.results[0] ?? job.feedback[0])?.pubkey,
  );
  if (mine || others.length)
    return html`
      ${[mine, ...others].filter(Boolean).map(
        (event) => html`
          <section class="panel">
            <h3>${event === mine ? "You said" : "The buyer said"}</h3>
            <p>
              <span class="stars-shown" role="img" aria-label=${`${tag(event, "rating")} of 5 stars`}>
                ${"★".repeat(Math.min(5, Number(tag(event, "rating")) || 0))}
              </span>
              ${" "}${event.content.slice(0, 500)}${" "}${
                tag(event, "preimage")
                  ? html`
                      <span class="badge good">with proof of payment</span>
                    `
                  : null
              }
            </p>
            ${answers.map(
              (answer) => html`
                <blockquote class="answer">
                  <p>${answer.content.slice(0, 500)}</p>
                  <p class="soft small">the seller answers</p>
                </blockquote>
              `,
            )}
          </section>
        `,
      )}
    `;
  if (!job.over || !me || me.pubkey !== job.request?.pubkey || !(job.results.length || job.feedback.length))
    return null;
  const send = async (event) => {
    event.preventDefault();
    const data = new FormData(event.target);
    const stars = Number(data.get("stars"));
    try {
      if (stars < 3 && !data.get("text").trim()) throw new Error("Say what went wrong: a complaint needs words.");
      const told = data.get("proof")?.trim();
      if (told) await tellProof(job.request.id, job.bill, told);
      for (const made of await reviewEvents(me, job, stars, data.get("text"))) await relay.publish(made);
    } catch (error) {
      setState(error.message);
    }
  };
  return html`
    <section class="panel">
      <h3>How was it?</h3>
      <form onSubmit=${send}>
        <fieldset class="stars" aria-label="Stars">
          ${[5, 4, 3, 2, 1].map(
            (n) => html`
              <input type="radio" name="stars" id=${`s${n}`} value=${n} required />
              <label for=${`s${n}`} title=${`${n} of 5`}>
                <span aria-hidden="true">★</span>
                <span class="hidden">${n} of 5</span>
              </label>
            `,
          )}
        </fieldset>
        <div class="field">
          <label for="say">A word for the next buyer</label>
          <input id="say" name="text" maxlength="500" />
        </div>
        ${
          proofOf(job.request.id)
            ? html`
                <p class="small soft">It carries the proof of your payment, so it counts.</p>
              `
            : job.bill
              ? html`
                  <div class="field">
                    <label for="proof">
                      Proof of payment${" "}
                      <span class="soft">the preimage, which your wallet shows with the payment</span>
                    </label>
                    <input id="proof" name="proof" pattern="\\s*[0-9a-fA-F]{64}\\s*" autocomplete="off" spellcheck="false" />
                    <p class="hint">Your wallet paid, not this browser. Without it the review stands as an opinion.</p>
                  </div>
                `
              : null
        }
        <button>Publish the review</button>
        <p role="status">${state}</p>
      </form>
    </section>
  `;
}

const marks = { green: "✓", grey: "?", red: "✗" };
const good = (verdict) => (verdict === "green" ? "good" : verdict === "red" ? "bad" : "");

/** The tree of receipts: one root, one branch a step; every line checked by the node against what others signed. */
export function Audit({ job, id }) {
  const [lines, setLines] = useState(null);
  const root = job.results.map((event) => tag(event, "receipt")).find(Boolean);
  useEffect(() => {
    if (root)
      fetch(`/job/${id}/audit.json`)
        .then((answer) => answer.ok && answer.json())
        .then((found) => found && setLines(found.lines))
        .catch(() => {});
  }, [root, job.receipts.length]);
  if (!lines) return null;
  const branches = new Map();
  for (const line of lines) branches.set(line.step, [...(branches.get(line.step) ?? []), line]);
  const wrong = lines.filter((line) => line.verdict === "red").length;
  const branch = (step, found) => {
    const worst = found.some((line) => line.verdict === "red")
      ? "red"
      : found.every((line) => line.verdict === "green")
        ? "green"
        : "grey";
    const paid = found.find((line) => line.what === "amount");
    return html`
      <details>
        <summary>
          <span class=${`badge ${good(worst)}`}>
            ${marks[worst]}${" "}
            <span class="hidden">${worst}</span>
          </span>
          ${" "}
          <b>${step.replace(/\[(\d+)\]/, (_, i) => ` ${Number(i) + 1}`) || "the whole"}</b>
          ${" "}
          <span class="soft small">
            ${found.length} claims${paid ? `, ${paid.detail.replace(/^(\d+) msat$/, (_, n) => amount(Number(n)))}` : ""}
          </span>
        </summary>
        <table class="small">
          <tbody>
            ${found.map(
              (line) => html`
                <tr>
                  <td>
                    <span class=${`badge ${good(line.verdict)}`}>
                      ${marks[line.verdict]}${" "}
                      <span class="hidden">${line.verdict}</span>
                    </span>
                  </td>
                  <td>${line.what}</td>
                  <td class="soft">${line.detail}</td>
                </tr>
              `,
            )}
          </tbody>
        </table>
      </details>
    `;
  };
  return html`
    <section class="panel" id="audit">
      <h3>Receipts, audited</h3>
      <p>
        ${
          wrong
            ? html`
                <span class="badge bad">✗ ${wrong} false</span>
              `
            : html`
                <span class="badge good">✓ nothing false</span>
              `
        }${" "}
        <span class="small soft">
          ${lines.length} claims checked against bills, results and files that their authors signed.
        </span>
      </p>
      <details open=${wrong > 0}>
        <summary>Receipt by receipt</summary>
        <div class="tree">
          ${branch("", branches.get("") ?? [])}
          <div class="branch">
            ${[...branches].filter(([step]) => step).map(([step, found]) => branch(step, found))}
          </div>
        </div>
      </details>
    </section>
  `;
}

/** Who was paid what, straight from the receipts: for composites of other nodes, too. */
export const Receipts = ({ job }) =>
  job.receipts.length && !job.results.some((event) => tag(event, "receipt"))
    ? html`
        <section class="panel">
          <h3>Receipts</h3>
          <ul class="plain">
            ${job.receipts.map(
              (event) => html`
                <li class="row spread">
                  <span>${tags(event, "step")[0]?.[1] ?? "whole"}, ${name(tag(event, "p") ?? event.pubkey)}</span>
                  <span class="price">${amount(Number(tag(event, "amount") || tag(event, "price") || 0))}</span>
                </li>
              `,
            )}
          </ul>
        </section>
      `
    : null;
