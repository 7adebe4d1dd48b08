// A bill and the ways to pay it: the node's credits, the browser's wallet (WebLN), a connected one (NIP-47), QR, copy.
import { spendable, spent } from "./budget.js";
import { proves } from "./invoice.js";
import { connect, connected, pay as payByConnection, preimageOf } from "./nwc.js";
import { amount, node, tags } from "./relay.js";
import { copy, html, Qr, spell, useEffect, useState } from "./ui.js";
import { postAs, who } from "./who.js";
import { titleOf } from "./work.js";

const PAID = "timmy.paid.";
const keep = (id, proof) => sessionStorage.setItem(PAID + id, JSON.stringify(proof));

/** What this browser knows of a payment: {msat, invoice, way, preimage}. The preimage proves the purchase in a review. */
export const proofOf = (id) => JSON.parse(sessionStorage.getItem(PAID + id) || "null");

/** The same, once the job is over: money that was only locked has its preimage when the seller took it. */
export async function settledProof(id) {
  const proof = proofOf(id);
  if (!proof || proof.preimage) return proof;
  const ask = { credits: () => byCredits(proof.invoice, id), nwc: () => preimageOf(proof.invoice) }[proof.way];
  const preimage = ask ? await ask().catch(() => "") : ""; // without an answer the review says that it has no proof
  if (preimage) keep(id, { ...proof, preimage });
  return proofOf(id);
}

/** A preimage that the buyer's own wallet shows, for a bill that was paid by QR code. Throws where it is not this bill's. */
export async function tellProof(id, bill, preimage) {
  const [, msat, invoice] = tags(bill, "amount")[0];
  if (!(await proves(preimage, invoice))) throw new Error("That is not the proof of this payment.");
  keep(id, { way: "told", invoice, msat: Number(msat), preimage: preimage.toLowerCase() });
}

const byCredits = async (invoice, id) => (await postAs(await who(), "/pay", { invoice, job: id })).preimage;

async function byWebln(invoice) {
  await window.webln.enable();
  return (await window.webln.sendPayment(invoice))?.preimage;
}

function Lines({ bill, total }) {
  const lines = tags(bill, "line");
  const [, , until, seconds] = tags(bill, "quote")[0] ?? [];
  if (!lines.length && !until) return null;
  const cost = (msat) => amount(Math.round(Number(msat) / 100) * 100);
  return html`
    <table class="small">
      <tbody>
        ${lines.map(
          ([, name, kind, msat]) => html`
            <tr>
              <td>${name}</td>
              <td class="soft">${titleOf(kind)}</td>
              <td class="n">${cost(msat)}</td>
            </tr>
          `,
        )}
        <tr>
          <td><b>Together</b></td>
          <td class="soft">${seconds ? `at most ${spell(Number(seconds))}` : ""}</td>
          <td class="n"><span class="price">${amount(total)}</span></td>
        </tr>
      </tbody>
    </table>
    ${
      until
        ? html`
            <p class="small soft">Good until ${new Date(until * 1000).toLocaleTimeString()}.</p>
          `
        : null
    }
  `;
}

export function Bill({ bill, id, announced, onPaid }) {
  const [, msat, invoice] = bill.tags.find((t) => t[0] === "amount");
  const total = Number(msat);
  const [busy, setBusy] = useState("");
  const [fault, setFault] = useState("");
  const [uri, setUri] = useState("");
  const [left, setLeft] = useState(null);
  useEffect(() => {
    const ask = async () => {
      const me = await who();
      const answer = me && (await fetch(`/pay/${me.pubkey}.json`).catch(() => null));
      if (answer?.ok) setLeft((await answer.json()).left);
    };
    if (node.guestCredits) ask();
  }, []);
  const attempt = (way, work) => async () => {
    setBusy(way);
    setFault("");
    try {
      if (total > spendable())
        throw new Error(
          `This is beyond the budget you set for today (${amount(Math.max(0, spendable()))} left). Raise it under “My jobs”.`,
        );
      const preimage = await work();
      keep(id, { way, invoice, msat: total, preimage });
      spent(id, total);
      onPaid(way);
    } catch (error) {
      setFault(error.message);
    }
    setBusy("");
  };
  const byConnection = async () => {
    if (!connected()) connect(uri);
    return payByConnection(invoice);
  };
  return html`
    <section class="panel" aria-labelledby="pay">
      <h2 id="pay">Pay ${amount(total)}</h2>
      ${
        announced && total > announced
          ? html`
              <p class="note bad">The seller announced ${amount(announced)} and now asks for more.</p>
            `
          : null
      }
      <${Lines} bill=${bill} total=${total} />
      <p class="small soft">
        If it cannot be delivered, or you cancel before the work starts, the money comes back to you.
      </p>
      <div class="row">
        ${
          node.credits && node.guestCredits
            ? html`
                <button onClick=${attempt("credits", () => byCredits(invoice, id))} disabled=${busy}>
                  Pay with this node's credits
                </button>
              `
            : null
        }
        ${
          window.webln
            ? html`
                <button onClick=${attempt("webln", () => byWebln(invoice))} disabled=${busy}>
                  Pay with your browser's wallet
                </button>
              `
            : null
        }
        ${
          connected()
            ? html`
                <button onClick=${attempt("nwc", byConnection)} disabled=${busy}>Pay with your connected wallet</button>
              `
            : null
        }
        ${
          left === null
            ? null
            : html`
                <span class="small soft">${left} of today's ${node.guestCredits} free credits left</span>
              `
        }
      </div>
      <details open=${!node.credits && !window.webln && !connected()}>
        <summary>
          ${node.credits ? "Other ways: QR code, invoice, connect a wallet" : "QR code, invoice, connect a wallet"}
        </summary>
        <div class="row">
          <a href=${`lightning:${invoice}`} aria-label="Open in a Lightning wallet">
            <${Qr} text=${invoice.toUpperCase()} label="Lightning invoice" />
          </a>
          <div class="grow">
            <p class="bolt" tabindex="0">${invoice}</p>
            <button class="plain small" onClick=${(e) => copy(invoice, e.target)}>Copy the invoice</button>
          </div>
        </div>
        ${
          connected()
            ? null
            : html`
                <div class="field">
                  <label for="nwc">
                    Wallet connection${" "}
                    <span class="soft">(NWC; give it a budget, it stays in this tab)</span>
                  </label>
                  <div class="row">
                    <input
                      class="grow"
                      id="nwc"
                      placeholder="nostr+walletconnect://…"
                      autocomplete="off"
                      onInput=${(e) => setUri(e.target.value)}
                    />
                    <button class="plain" onClick=${attempt("nwc", byConnection)} disabled=${busy || !uri}>
                      Connect and pay
                    </button>
                  </div>
                </div>
              `
        }
      </details>
      <p role="status" aria-live="polite">${busy ? "Paying…" : fault}</p>
    </section>
  `;
}
