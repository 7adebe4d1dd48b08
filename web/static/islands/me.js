// The visitor's own jobs, newest first, with what each cost.
import { budget, setBudget, spentToday } from "./budget.js";
import { open } from "./fold.js";
import { amount, node, relay, tag, tags } from "./relay.js";
import { html, render, useEffect, useReducer, useState } from "./ui.js";
import { connected, forget } from "./nwc.js";
import { lib, signOut, who } from "./who.js";

const KINDS = Array.from({ length: 1000 }, (_, i) => 5000 + i);
const states = {
  "payment-required": "to be paid",
  processing: "at work",
  partial: "at work",
  success: "delivered",
  error: "failed",
};

const kinds = {
  nip07: "a browser extension holds your key",
  nip46: "a remote signer holds your key",
  guest: "a throw-away key of this tab: it is gone when you close it",
};

/** The visitor's key, daily budget and connected wallet. */
function Purse({ me }) {
  const [limit, setLimit] = useState(budget());
  const [left, setLeft] = useState(null);
  const [wallet, setWallet] = useState(Boolean(connected()));
  const [said, setSaid] = useState("");
  const [npub, setNpub] = useState("");
  useEffect(() => {
    lib().then(({ nip19 }) => setNpub(nip19.npubEncode(me.pubkey)));
    if (node.guestCredits)
      fetch(`/pay/${me.pubkey}.json`)
        .then((answer) => answer.json())
        .then((found) => setLeft(found.left))
        .catch(() => {});
  }, [me.pubkey]);
  const save = (event) => {
    event.preventDefault();
    const text = new FormData(event.target).get("budget").trim();
    const wanted = text === "" ? null : Number(text) * 1000;
    setBudget(wanted);
    setLimit(wanted);
    setSaid(wanted === null ? "No limit." : "Kept in this browser; every payment from this page asks it first.");
  };
  return html`
    <div class="two">
      <div class="panel">
        <h2>Your key</h2>
        <p class="mono small">${npub}</p>
        <p class="soft">${kinds[me.kind]}.</p>
        <button class="plain small" onClick=${signOut}>Sign out</button>
      </div>
      <div class="panel">
        <h2>Your budget</h2>
        <form onSubmit=${save}>
          <label for="budget">
            Most to spend in a day (${node.credits ? "credits" : "sat"})${" "}
            <span class="soft">empty for no limit</span>
          </label>
          <div class="row">
            <input
              class="grow"
              id="budget"
              name="budget"
              inputmode="numeric"
              pattern="[0-9]*"
              value=${limit === null ? "" : limit / 1000}
            />
            <button class="plain">Keep</button>
          </div>
        </form>
        <p class="small soft">
          ${amount(spentToday()).replace("free", "Nothing")} spent today through this
          page.${left === null ? "" : ` ${left} of ${node.guestCredits} free credits left today.`}
        </p>
        ${
          wallet
            ? html`
                <p class="small">
                  A wallet is connected in this tab.${" "}
                  <button
                    class="plain small"
                    onClick=${() => {
                      forget();
                      setWallet(false);
                    }}
                  >
                    Forget it
                  </button>
                </p>
              `
            : null
        }
        <p role="status" class="small">${said}</p>
      </div>
    </div>
  `;
}

const title = (job) =>
  (tags(job, "i")[0]?.[1] ?? (tags(job, "encrypted").length ? "A private order" : `Kind ${job.kind}`)).slice(0, 80);

function Me() {
  const [me, setMe] = useState(undefined);
  const [jobs, add] = useReducer((state, event) => new Map(state).set(event.id, event), new Map());
  const [news, hear] = useReducer((state, event) => new Map(state).set(event.id, event), new Map());
  useEffect(() => {
    const look = async () => setMe(await who());
    look();
    document.addEventListener("timmy:who", look);
    return () => document.removeEventListener("timmy:who", look);
  }, []);
  useEffect(() => {
    if (!me) return;
    // What is private is opened, but not by an extension: it would ask its owner about each.
    const opened = (take) => async (event) => take(me.kind === "nip07" ? event : await open(event, me));
    const stops = [
      relay.subscribe([{ kinds: KINDS, authors: [me.pubkey], limit: 200 }], opened(add)),
      relay.subscribe(
        [
          { kinds: [7000], "#p": [me.pubkey], limit: 1000 },
          { kinds: KINDS.map((kind) => kind + 1000), "#p": [me.pubkey], limit: 500 },
        ],
        opened(hear),
      ),
    ];
    return () => stops.forEach((stop) => stop());
  }, [me?.pubkey]);
  if (me === undefined)
    return html`
      <p class="soft">Looking…</p>
    `;
  if (!me)
    return html`
      <div class="empty">
        <h2>You are not signed in</h2>
        <p>Sign in above with your Nostr key, or order something as a guest: it will show up here.</p>
        <a class="button" href="/">To the shop</a>
      </div>
    `;
  const answers = group(news.values());
  const rows = [...jobs.values()]
    .sort((a, b) => b.created_at - a.created_at)
    .map((job) => {
      const heard = (answers.get(job.id) ?? []).sort((a, b) => a.created_at - b.created_at);
      const result = heard.find((event) => event.kind >= 6000 && event.kind < 7000);
      const last = heard.findLast((event) => event.kind === 7000);
      const cost = heard.map((event) => Number(tag(event, "amount") || 0)).findLast(Boolean);
      const paid = result || heard.some((event) => tag(event, "status") === "processing");
      return {
        job,
        state: result ? "delivered" : (states[last && tag(last, "status")] ?? "asked"),
        cost: paid ? cost : 0,
      };
    });
  const spent = rows.reduce((sum, row) => sum + (row.cost || 0), 0);
  if (!rows.length)
    return html`
      <${Purse} me=${me} />
      <div class="empty">
        <h2>Nothing yet</h2>
        <p>What you order shows up here.</p>
        <a class="button" href="/">To the shop</a>
      </div>
    `;
  return html`
    <div class="numbers">
      <div>
        <b>${rows.length}</b>
        <span>jobs</span>
      </div>
      <div>
        <b>${amount(spent)}</b>
        <span>spent</span>
      </div>
      <div>
        <b>${rows.filter((row) => row.state === "delivered").length}</b>
        <span>delivered</span>
      </div>
    </div>
    <div class="panel scroll">
      <table>
        <thead>
          <tr>
            <th>Job</th>
            <th>State</th>
            <th>When</th>
            <th class="n">Cost</th>
          </tr>
        </thead>
        <tbody>
          ${rows.map(
            ({ job, state, cost }) => html`
              <tr data-item>
                <td><a href=${`/job/${job.id}`}>${title(job)}</a></td>
                <td>${state}</td>
                <td class="soft nowrap">${new Date(job.created_at * 1000).toLocaleString()}</td>
                <td class="n">${cost ? amount(cost) : ""}</td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
    <${Purse} me=${me} />
  `;
}

function group(events) {
  const made = new Map();
  for (const event of events) made.set(tag(event, "e"), [...(made.get(tag(event, "e")) ?? []), event]);
  return made;
}

const root = document.getElementById("me");
root.replaceChildren(); // what stands there for readers without scripts
render(
  html`
    <${Me} />
  `,
  root,
);
