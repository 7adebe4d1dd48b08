// One task in a person's inbox: who asks and how they pay, the claim with its lease, the delivery.
import { sha256 } from "./bytes.js";
import { invoiceFor, invoiceFrom } from "./earn.js";
import { amount, node, now, relay, tag, tags, unit } from "./relay.js";
import { Away, clock, html, Media, ownPath, safeUrl, spell, useEffect, useState } from "./ui.js";

const LEASE = 1800; // seconds that a claim holds
const param = (event, name) => tags(event, "param").find((t) => t[1] === name)?.[2];
const inputs = (event) => tags(event, "i");

/** When the work is wanted: what the buyer says in seconds, else the end of the request; 0 where nothing is said. */
export const dueAt = (task) =>
  Number(param(task, "seconds")) > 0
    ? task.created_at + Number(param(task, "seconds"))
    : Number(tag(task, "expiration") || 0);
const ASKS = {
  rank: "The numbers of what is shown, the best first: 2 1 3",
  score: "A number from 0 to 10, and why",
  "yes-no": "Why",
};

async function say(me, task, status, note, extra = []) {
  await relay.publish(
    await me.sign({
      kind: 7000,
      created_at: now(),
      content: note,
      tags: [["e", task.id, node.relay], ["p", task.pubkey], ["status", status, note], ...extra],
    }),
  );
}

async function upload(me, file) {
  const body = new Uint8Array(await file.arrayBuffer());
  const permit = [
    ["t", "upload"],
    ["x", await sha256(body)],
    ["expiration", String(now() + 300)],
  ];
  const leave = await me.sign({ kind: 24242, created_at: now(), content: `Upload ${file.name}`, tags: permit });
  const headers = {
    "Content-Type": file.type || "application/octet-stream",
    Authorization: `Nostr ${btoa(JSON.stringify(leave))}`,
  };
  const answer = await fetch("/upload", { method: "PUT", body, headers });
  if (!answer.ok) throw new Error(answer.headers.get("X-Reason") || `The upload failed (${answer.status}).`);
  return answer.json();
}

async function deliver(me, task, data, address) {
  const file = data.get("file"),
    form = param(task, "form");
  const blob = file?.size ? await upload(me, file) : null;
  const text =
    form === "yes-no" ? JSON.stringify({ answer: data.get("answer"), why: data.get("text") }) : data.get("text");
  if (!blob && !text.trim()) throw new Error("Attach a file or write the answer.");
  const price = Math.round(Number(data.get("price") || 0) * 1000);
  const given = String(data.get("invoice") || "").trim();
  const invoice = price ? given || (await invoiceFor(price, param(task, "title") ?? "Work", address)) : "";
  if (price && !invoice)
    throw new Error(
      "Your pay needs an invoice. Choose above where it shall go, paste an invoice here, or set the pay to 0 if you give it away.",
    );
  const files = blob
    ? [
        ["x", blob.sha256],
        ["m", blob.type],
        ["imeta", `url ${blob.url}`, `m ${blob.type}`, `x ${blob.sha256}`, `size ${blob.size}`],
      ]
    : [];
  await relay.publish(
    await me.sign({
      kind: task.kind + 1000,
      created_at: now(),
      content: blob ? blob.url : text,
      tags: [
        ["request", JSON.stringify(task)],
        ["e", task.id, node.relay],
        ["p", task.pubkey],
        ...inputs(task),
        ...files,
        ["engine", "a person"],
        ["status", "success"],
        ...(price ? [["amount", String(price), invoice]] : []),
      ],
    }),
  );
  await say(me, task, "success", "Delivered.");
}

const MADE_BY = { wallet: "your wallet makes it", address: "your Lightning address makes it" };

function Delivery({ me, task, address }) {
  const [said, setSaid] = useState("");
  const form = param(task, "form"),
    { id } = task;
  const send = async (event) => {
    event.preventDefault();
    setSaid("Sending…");
    try {
      await deliver(me, task, new FormData(event.target), address);
    } catch (error) {
      setSaid(error.message);
    }
  };
  return html`
    <form onSubmit=${send}>
      ${
        form === "yes-no"
          ? html`
              <fieldset>
                <legend>Your verdict</legend>
                <label class="row">
                  <input type="radio" name="answer" value="yes" required />
                  Yes
                </label>
                <label class="row">
                  <input type="radio" name="answer" value="no" />
                  No
                </label>
              </fieldset>
            `
          : null
      }
      <div class="field">
        <label for=${`t${id}`}>
          ${ASKS[form] ?? "Answer"}${" "}
          <span class="soft">or a file below</span>
        </label>
        <textarea id=${`t${id}`} name="text" />
      </div>
      <div class="fields">
        <div class="field">
          <label for=${`f${id}`}>File</label>
          <input id=${`f${id}`} name="file" type="file" />
        </div>
        <div class="field">
          <label for=${`a${id}`}>Your pay (${unit})</label>
          <input id=${`a${id}`} name="price" inputmode="numeric" value=${Number(tag(task, "bid") || 0) / 1000} />
        </div>
        <div class="field">
          <label for=${`b${id}`}>
            Invoice${" "}
            <span class="soft">${MADE_BY[invoiceFrom(address)] ?? "over your pay"}</span>
          </label>
          <input id=${`b${id}`} name="invoice" placeholder="lnbc…" autocomplete="off" />
        </div>
      </div>
      <button>Deliver</button>
      ${" "}
      <span role="status">${said}</span>
    </form>
  `;
}

/** What this relay knows of how a buyer pays. */
function useHabits(buyer) {
  const [known, setKnown] = useState(null);
  useEffect(() => {
    const ask = async () => {
      const answer = await fetch(`/buyer/${buyer}.json`).catch(() => null);
      if (answer?.ok) setKnown(await answer.json());
    };
    ask();
  }, [buyer]);
  if (!known) return "…";
  return known.owed
    ? `paid ${known.paid} of ${known.owed} delivered jobs`
    : `new here: ${known.asked} job${known.asked === 1 ? "" : "s"} asked, none delivered yet`;
}

function Input({ value, type }) {
  if (type !== "url" || !safeUrl(value))
    return html`
      <p>${value.slice(0, 2000)}</p>
    `;
  const mime = /\.(png|jpe?g|webp)$/i.test(value) ? "image/png" : /\.(mp4|webm)$/i.test(value) ? "video/mp4" : "";
  return html`
    <p>
      ${
        ownPath(value)
          ? html`
              <a href=${ownPath(value)}>${value.slice(0, 90)}</a>
            `
          : html`
              <${Away} url=${value}>${value.slice(0, 90)}<//>
            `
      }
    </p>
    <${Media} url=${value} mime=${mime} alt="what was given" />
  `;
}

export function Task({ me, task, claims, results, at, paid, address }) {
  const [said, setSaid] = useState("");
  const habits = useHabits(task.pubkey);
  const held = claims
    .filter((event) => Number(tag(event, "claim")) > at)
    .sort((a, b) => a.created_at - b.created_at)[0];
  const mine = held?.pubkey === me.pubkey;
  const answer = results.find((event) => event.pubkey === me.pubkey);
  const left = held ? Number(tag(held, "claim")) - at : 0;
  const bid = Number(tag(task, "bid") || 0),
    until = dueAt(task);
  const attempt = (work) => async () => {
    try {
      await work();
    } catch (error) {
      setSaid(error.message);
    }
  };
  const claim = attempt(() => say(me, task, "processing", "Taken by a person.", [["claim", String(now() + LEASE)]]));
  const release = attempt(() => say(me, task, "processing", "Given back.", [["claim", "0"]]));
  const warning = param(task, "content_warning");
  return html`
    <li class="panel task" data-item>
      <div class="row spread">
        <h3>${param(task, "title") ?? inputs(task)[0]?.[1]?.slice(0, 90) ?? `kind ${task.kind}`}</h3>
        <span class="price">${bid ? amount(bid) : "no price named"}</span>
      </div>
      ${
        warning
          ? html`
              <p class="note bad">${warning.slice(0, 200)}</p>
            `
          : null
      }
      ${inputs(task).map(
        ([, value, type]) => html`
          <${Input} value=${value} type=${type} />
        `,
      )}
      <p class="soft small who-pays">
        <span>Asked ${new Date(task.created_at * 1000).toLocaleString()}</span>
        <span>${until ? `wanted within ${spell(until - at)}` : "no deadline"}</span>
        <span>buyer ${habits}</span>
        <button class="link small" data-report="this task" data-pubkey=${task.pubkey} data-event=${task.id}>
          Report
        </button>
      </p>
      ${
        answer
          ? html`
              <p>
                <span class="badge good">delivered</span>
                ${" "}${
                  paid
                    ? html`
                        <span class="badge money">paid ${amount(paid)}</span>
                      `
                    : tag(answer, "amount")
                      ? html`
                          <span class="soft small">waiting for the pay</span>
                        `
                      : null
                }
              </p>
            `
          : mine
            ? html`
                <div class="lease">
                  <p class="row">
                    <span>
                      Yours for another${" "}
                      <b class="mono" role="timer">${clock(left)}</b>
                    </span>
                    <button class="plain small" onClick=${release}>Give it back</button>
                  </p>
                  <progress max=${LEASE} value=${left} aria-label="Time left of your claim" />
                </div>
                <${Delivery} me=${me} task=${task} address=${address} />
              `
            : held
              ? html`
                  <p class="soft">
                    Somebody works on it, for another${" "}
                    <span class="mono" role="timer">${clock(left)}</span>
                    ${" "}at most.
                  </p>
                `
              : html`
                  <p class="row">
                    <button onClick=${claim}>Take it</button>
                    <span class="small soft">yours alone for ${LEASE / 60} minutes</span>
                    <span role="status">${said}</span>
                  </p>
                `
      }
    </li>
  `;
}
