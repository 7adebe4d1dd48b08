// Work for people: announce skills, be available, find tasks, see earnings. All signed with the person's key.
import { sha256, unhex } from "./bytes.js";
import { connect, connected, forget } from "./nwc.js";
import { amount, node, now, relay, tag, tags } from "./relay.js";
import { dueAt, Task } from "./task.js";
import { html, render, useEffect, useReducer, useState } from "./ui.js";
import { postAs, signInAsGuest, who } from "./who.js";

const kinds = JSON.parse(document.getElementById("kinds").textContent);
const HERE_EVERY = 240,
  AWAY_EVERY = 600,
  LIFE = 900; // seconds: between beats while the page is open, while it is closed; of one beat
const store = (state, event) => new Map(state).set(event.id, event);

function useClock() {
  const [at, tick] = useState(now());
  useEffect(() => {
    const timer = setInterval(() => tick(now()), 1000);
    return () => clearInterval(timer);
  }, []);
  return at;
}

const beat = (me, at, status = "ready") =>
  me.sign({
    kind: 11998,
    created_at: at,
    content: "",
    tags: [
      ["d", "human"],
      ["status", status],
      ["expiration", String(at + LIFE)],
    ],
  });

const leave = async (me, beats) => (await postAs(me, "/inbox/beats", { beats })).until;

/** Open for work: while this page is open, or for hours, by heartbeats that are signed now and sent by the node when due. */
function Available({ me, live, setLive }) {
  const [until, setUntil] = useState(0);
  const [said, setSaid] = useState("");
  useEffect(() => {
    const look = async () => {
      const answer = await fetch(`/inbox/beats/${me.pubkey}.json`).catch(() => null);
      if (answer?.ok) setUntil((await answer.json()).until);
    };
    look();
  }, [me.pubkey]);
  useEffect(() => {
    if (!live) return undefined;
    const send = async () => relay.publish(await beat(me, now())).catch((error) => setSaid(error.message));
    send();
    const timer = setInterval(send, HERE_EVERY * 1000);
    return () => clearInterval(timer);
  }, [me.pubkey, live]);
  const stay = async (hours) => {
    const count = (hours * 3600) / AWAY_EVERY,
      start = now(),
      beats = [];
    try {
      for (let i = 1; i <= count; i++) {
        setSaid(`Signing ${i} of ${count}…`);
        beats.push(await beat(me, start + i * AWAY_EVERY));
      }
      setUntil(await leave(me, beats));
      setLive(true);
      setSaid("");
    } catch (error) {
      setSaid(error.message);
    }
  };
  const rest = async () => {
    setLive(false);
    try {
      const gone = await beat(me, now(), "offline");
      await leave(me, [gone]);
      await relay.publish(gone);
      setUntil(0);
      setSaid("");
    } catch (error) {
      setSaid(error.message);
    }
  };
  const there = live || until > now();
  return html`
    <div class="panel row spread" id="available">
      <label class="row">
        <input
          type="checkbox"
          role="switch"
          checked=${there}
          onChange=${(e) => (e.target.checked ? setLive(true) : rest())}
        />
        <b>I am available now</b>
        ${" "}
        <span class=${`dot ${there ? "live" : ""}`} />
      </label>
      <span class="row small">
        <span class="soft">
          ${until > now() ? `until ${new Date(until * 1000).toLocaleTimeString()}, even with this page closed` : live ? "while this page is open" : "nobody is told that you are here"}
        </span>
        ${[1, 4, 12].map(
          (hours) => html`
            <button class="plain small" onClick=${() => stay(hours)}>${hours} h</button>
          `,
        )}
      </span>
      <span role="status" class="small soft">${said}</span>
    </div>
  `;
}

function Skills({ me, mine, setLive }) {
  const [said, setSaid] = useState("");
  const about = mine ? JSON.parse(mine.content) : {};
  const takes = (kind) => (mine ? mine.tags.some((t) => t[0] === "k" && t[1] === String(kind)) : kind === 5820);
  const announce = async (event) => {
    event.preventDefault();
    const data = new FormData(event.target);
    const chosen = data.getAll("kind");
    try {
      if (!chosen.length) throw new Error("Choose at least one skill.");
      const words = {
        name: data.get("name"),
        about: data.get("about"),
        lud16: data.get("lud16"),
        amount: String(Number(data.get("price")) || 0),
        supportsEncryption: false,
        nip90Params: {},
      };
      const topics = String(data.get("tags"))
        .split(/[\s,]+/)
        .filter(Boolean)
        .map((word) => ["t", word.toLowerCase()]);
      const profile = await me.sign({
        kind: 0,
        created_at: now(),
        content: JSON.stringify({ name: words.name, about: words.about, lud16: words.lud16 }),
        tags: [],
      });
      const inboxes = await me.sign({ kind: 10002, created_at: now(), content: "", tags: [["r", node.relay]] });
      const offer = await me.sign({
        kind: 31990,
        created_at: now(),
        content: JSON.stringify(words),
        tags: [["d", "human"], ...chosen.map((kind) => ["k", kind]), ["t", "human"], ...topics, ["relays", node.relay]],
      });
      for (const made of [profile, inboxes, offer]) await relay.publish(made);
      setSaid("Announced.");
      setLive(true);
    } catch (error) {
      setSaid(error.message);
    }
  };
  return html`
    <details class="panel" open=${!mine}>
      <summary><b>${mine ? "Your skills" : "Announce what you can do"}</b></summary>
      <form onSubmit=${announce}>
        <div class="field">
          <label for="name">Name</label>
          <input id="name" name="name" required maxlength="60" value=${about.name} />
        </div>
        <div class="field">
          <label for="about">What you do well</label>
          <textarea id="about" name="about" required maxlength="600">${about.about}</textarea>
        </div>
        <fieldset>
          <legend>You take</legend>
          <div class="fields">
            ${kinds.map(
              ([kind, title]) => html`
                <label class="row">
                  <input type="checkbox" name="kind" value=${kind} checked=${takes(kind)} />
                  ${title}
                </label>
              `,
            )}
          </div>
        </fieldset>
        <div class="fields">
          <div class="field">
            <label for="price">Usual price (${node.credits ? "credits" : "sat"})</label>
            <input id="price" name="price" inputmode="numeric" pattern="[0-9]*" value=${about.amount ?? "1000"} />
          </div>
          <div class="field">
            <label for="tags">Words people search for</label>
            <input id="tags" name="tags" placeholder="voice-over, portrait" />
          </div>
        </div>
        <div class="field">
          <label for="lud16">
            Lightning address for your pay${" "}
            <span class="soft">optional; you can also give an invoice with each delivery</span>
          </label>
          <input id="lud16" name="lud16" placeholder="you@wallet.example" value=${about.lud16} />
        </div>
        <button>${mine ? "Announce again" : "Announce"}</button>
      </form>
    </details>
    <p role="status" class="small">${said}</p>
  `;
}

/** The worker's own wallet: it writes the invoices, the page never holds money. */
function Wallet() {
  const [there, setThere] = useState(Boolean(connected()));
  const [said, setSaid] = useState("");
  const link = (event) => {
    event.preventDefault();
    try {
      connect(new FormData(event.target).get("uri"));
      setThere(true);
    } catch (error) {
      setSaid(error.message);
    }
  };
  if (there)
    return html`
      <p class="small">
        Your wallet writes the invoices.${" "}
        <button
          class="plain small"
          onClick=${() => {
            forget();
            setThere(false);
          }}
        >
          Forget it
        </button>
      </p>
    `;
  return html`
    <details class="panel">
      <summary>
        <b>Get paid by invoice</b>
        ${" "}
        <span class="soft small">connect a wallet that may make invoices</span>
      </summary>
      <form onSubmit=${link}>
        <label for="uri">
          Wallet connection${" "}
          <span class="soft">(NWC; it stays in this tab)</span>
        </label>
        <div class="row">
          <input class="grow" id="uri" name="uri" placeholder="nostr+walletconnect://…" autocomplete="off" />
          <button class="plain">Connect</button>
        </div>
      </form>
      <p role="status" class="small">${said}</p>
    </details>
  `;
}

/** Receipts whose preimage fits their payment hash, by job: money that came. */
function usePaid(me) {
  const [paid, setPaid] = useState(new Map());
  useEffect(
    () =>
      me
        ? relay.subscribe([{ kinds: [7190], "#p": [me.pubkey], limit: 500 }], async (event) => {
            const preimage = tag(event, "preimage") ?? "";
            if (/^[0-9a-f]{64}$/.test(preimage) && (await sha256(unhex(preimage))) === tag(event, "payment_hash"))
              setPaid((before) => new Map(before).set(tag(event, "e"), Number(tag(event, "amount") || 0)));
          })
        : undefined,
    [me?.pubkey],
  );
  return paid;
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
  useEffect(
    () =>
      me
        ? relay.subscribe(
            [{ kinds: [31990], authors: [me.pubkey] }],
            (event) => tag(event, "d") === "human" && setOffer(event),
          )
        : undefined,
    [me?.pubkey],
  );
  const skills = offer ? tags(offer, "k").map((t) => Number(t[1])) : [5820];
  useEffect(() => {
    if (!me) return undefined;
    const since = now() - 7 * 86400;
    const stops = [
      relay.subscribe([{ kinds: skills, since, limit: 100 }], addTask),
      relay.subscribe([{ kinds: [7000, ...skills.map((kind) => kind + 1000)], since, limit: 500 }], hear),
    ];
    return () => stops.forEach((stop) => stop());
  }, [me?.pubkey, skills.join()]);
  if (me === undefined)
    return html`
      <p class="soft" role="status">Looking…</p>
    `;
  if (!me)
    return html`
      <div class="empty">
        <h2>Who are you?</h2>
        <p>Sign in above with your Nostr key: your reputation grows under it. To look around, a guest key will do.</p>
        <button onClick=${signInAsGuest}>Look around as a guest</button>
      </div>
    `;
  const all = [...news.values()];
  const about = (task, kind) => all.filter((event) => event.kind === kind && tag(event, "e") === task.id);
  const open = [...tasks.values()]
    .filter((task) => {
      const to = tags(task, "p").map((t) => t[1]);
      const done = about(task, task.kind + 1000).some((event) => event.pubkey !== me.pubkey);
      return (!to.length || to.includes(me.pubkey)) && !done && (dueAt(task) || Infinity) > at;
    })
    .sort((a, b) => b.created_at - a.created_at);
  const delivered = all.filter((event) => event.kind >= 6000 && event.kind < 7000 && event.pubkey === me.pubkey);
  const asked = delivered.reduce((sum, event) => sum + Number(tag(event, "amount") || 0), 0);
  const earned = delivered.reduce((sum, event) => sum + (paid.get(tag(event, "e")) ?? 0), 0);
  return html`
    <${Available} me=${me} live=${live} setLive=${setLive} />
    <div class="numbers">
      <div>
        <b>${delivered.length}</b>
        <span>delivered</span>
      </div>
      <div>
        <b>${amount(earned).replace("free", "0")}</b>
        <span>earned, proven by receipts</span>
      </div>
      <div>
        <b>${amount(Math.max(0, asked - earned)).replace("free", "0")}</b>
        <span>asked for, not yet seen</span>
      </div>
    </div>
    <${Skills} me=${me} mine=${offer} setLive=${setLive} />
    <${Wallet} />
    <h2>Open tasks</h2>
    ${
      open.length
        ? html`
            <ul class="tasks" id="tasks" aria-live="polite">
              ${open.map(
                (task) => html`
                  <${Task}
                    key=${task.id}
                    me=${me}
                    task=${task}
                    at=${at}
                    paid=${paid.get(task.id)}
                    claims=${about(task, 7000).filter((event) => tag(event, "claim") !== undefined)}
                    results=${about(task, task.kind + 1000)}
                  />
                `,
              )}
            </ul>
          `
        : html`
            <div class="empty">
              <h3>Nothing to do right now</h3>
              <p>New tasks appear here by themselves. Announce your skills so that others find you.</p>
            </div>
          `
    }
  `;
}

const root = document.getElementById("inbox");
root.replaceChildren(); // what stands there for readers without scripts
render(
  html`
    <${Inbox} />
  `,
  root,
);
