// A bill and the ways to pay it: the node's credits, the browser's wallet (WebLN), a connected one (NIP-47), QR, copy.
import { spendable, spent } from "./budget.js";
import { connect, connected, pay as payByConnection } from "./nwc.js";
import { amount, node, now, tags } from "./relay.js";
import { copy, html, Qr, useEffect, useState } from "./ui.js";
import { who } from "./who.js";

const PAID = "timmy.paid.";

/** What this browser knows of a payment: {preimage, msat}. It proves the purchase in a review. */
export const proofOf = (id) => JSON.parse(sessionStorage.getItem(PAID + id) || "null");

export async function digest(data) {
  const hash = await crypto.subtle.digest("SHA-256", typeof data === "string" ? new TextEncoder().encode(data) : data);
  return [...new Uint8Array(hash)].map((b) => b.toString(16).padStart(2, "0")).join("");
}

async function byCredits(invoice, id) {
  const me = await who();
  const body = JSON.stringify({ invoice, job: id });
  const proof = await me.sign({
    kind: 27235, created_at: now(), content: "", tags: [["u", `${location.origin}/pay`], ["method", "POST"], ["payload", await digest(body)]],
  });
  const answer = await fetch("/pay", { method: "POST", body, headers: { "Content-Type": "application/json", Authorization: `Nostr ${btoa(JSON.stringify(proof))}` } });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error);
  return value.preimage;
}

async function byWebln(invoice) {
  await window.webln.enable();
  return (await window.webln.sendPayment(invoice))?.preimage;
}

function Lines({ bill, total }) {
  const lines = tags(bill, "line");
  const quote = tags(bill, "quote")[0];
  return html`<table class="small lines"><tbody>${lines.map(([, name, kind, cost]) => html`
      <tr><td>${name}</td><td class="soft">kind ${kind}</td><td class="n">${amount(Number(cost))}</td></tr>`)}
    <tr><td><b>Total</b></td><td class="soft">${quote?.[3] ? `at most ${Math.ceil(quote[3] / 60)} min` : ""}</td><td class="n"><b class="price">${amount(total)}</b></td></tr></tbody></table>
    ${quote?.[2] ? html`<p class="small soft">Good until ${new Date(quote[2] * 1000).toLocaleTimeString()}.</p>` : null}`;
}

export function Bill({ bill, id, announced, onPaid }) {
  const [, msat, invoice] = bill.tags.find((t) => t[0] === "amount");
  const total = Number(msat);
  const [busy, setBusy] = useState("");
  const [fault, setFault] = useState("");
  const [uri, setUri] = useState("");
  const [left, setLeft] = useState(null);
  useEffect(() => {
    if (node.guestCredits) who().then((me) => me && fetch(`/pay/${me.pubkey}.json`)).then((answer) => answer?.ok && answer.json()).then((found) => found && setLeft(found.left)).catch(() => {});
  }, []);
  const attempt = (name, work) => async () => {
    setBusy(name);
    setFault("");
    try {
      if (total > spendable()) throw new Error(`This is beyond the budget you set for today (${amount(Math.max(0, spendable()))} left). Raise it under “My jobs”.`);
      const preimage = await work();
      if (preimage) sessionStorage.setItem(PAID + id, JSON.stringify({ preimage, msat: total }));
      spent(id, total);
      onPaid(name);
    } catch (error) { setFault(error.message); }
    setBusy("");
  };
  const byConnection = async () => { if (!connected()) connect(uri); return payByConnection(invoice); };
  return html`<section class="panel" aria-labelledby="pay"><h2 id="pay">Pay ${amount(total)}</h2>
    ${announced && total > announced ? html`<p class="note bad">The seller announced ${amount(announced)} and now asks for more.</p>` : null}
    <${Lines} bill=${bill} total=${total} />
    <p class="small">If it cannot be delivered, or you cancel before the work starts, the money comes back to you.</p>
    <div class="row">
      ${node.credits && node.guestCredits ? html`<button onClick=${attempt("credits", () => byCredits(invoice, id))} disabled=${busy}>Pay with this node's credits</button>` : null}
      ${window.webln ? html`<button onClick=${attempt("webln", () => byWebln(invoice))} disabled=${busy}>Pay with your browser's wallet</button>` : null}
      ${connected() ? html`<button onClick=${attempt("nwc", byConnection)} disabled=${busy}>Pay with your connected wallet</button>` : null}
      ${left === null ? null : html`<span class="small soft">${left} of today's ${node.guestCredits} free credits left</span>`}
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
