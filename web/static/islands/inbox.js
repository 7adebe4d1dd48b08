// Work for people: announce skills, be available, find tasks, see earnings. All signed with the person's key.
import { usePaid, Wallet } from "./earn.js";
import { isResult } from "./fold.js";
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

const beat = (me, at, until, status = "ready") =>
  me.sign({
    kind: 11998,
    created_at: at,
    content: "",
    tags: [
      ["d", "human"],
      ["status", status],
      ["expiration", String(until)],
    ],
  });

/**
 * Until when this key says to be there, by its newest heartbeat (0: it does not), and a function that sends another:
 * at least a second newer than the last, for a relay keeps the newest alone.
 */
function useShift(me) {
  const [newest, hear] = useReducer((known, event) => (event.created_at >= known.created_at ? event : known), {
    created_at: 0,
    tags: [],
  });
  useEffect(() => relay.subscribe([{ kinds: [11998], authors: [me.pubkey] }], hear), [me.pubkey]);
  const send = async (end, status) => {
    const made = await beat(me, Math.max(now(), newest.created_at + 1), end, status);
    await relay.publish(made);
    hear(made);
  };
  return [tag(newest, "status") === "offline" ? 0 : Number(tag(newest, "expiration") || 0), send];
}

/**
 * Open for work: while this page is open, or for hours. One heartbeat that expires in hours says so to every node like
 * this one. Others believe a heartbeat for 15 minutes: for them a signer that asks nobody signs one for every ten
 * minutes in advance, and the node sends each when it is due. An extension asks its owner each time, so it signs one.
 */
function Available({ me, at, live, setLive }) {
  const [until, send] = useShift(me);
  const [said, setSaid] = useState("");
  const asks = me.kind === "nip07";
  const attempt = async (work) => {
    try {
      await work();
      setSaid("");
    } catch (error) {
      setLive(false);
      setSaid(error.message);
    }
  };
  const life = asks ? 3600 : LIFE;
  const due = live && until - at < (asks ? 300 : LIFE - HERE_EVERY);
  useEffect(() => {
    if (due) attempt(() => send(now() + life));
  }, [me.pubkey, due]);
  const stay = (hours) =>
    attempt(async () => {
      const start = now(),
        end = start + hours * 3600,
        later = [];
      await send(end);
      setLive(true);
      for (let due = start + AWAY_EVERY; due < end && !asks; due += AWAY_EVERY) {
        setSaid(`Signing for clients that believe a heartbeat for minutes only: ${later.length + 1}…`);
        later.push(await beat(me, due, end));
      }
      if (later.length) await postAs(me, "/inbox/beats", { beats: later });
    });
  const rest = () =>
    attempt(async () => {
      setLive(false);
      await send(now() + LIFE, "offline");
      if (!asks) await postAs(me, "/inbox/beats", { beats: [] }); // what was left before is forgotten
    });
  const there = live || until > at;
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
          ${there && until - at > LIFE ? `until ${new Date(until * 1000).toLocaleTimeString([], { timeStyle: "short" })}, even with this page closed` : there ? "while this page is open" : "nobody is told that you are here"}
        </span>
        ${[1, 4, 12].map(
          (hours) => html`
            <button
              class="plain small"
              aria-label=${`Available for ${hours} hour${hours > 1 ? "s" : ""}`}
              onClick=${() => stay(hours)}
            >
              ${hours} h
            </button>
          `,
        )}
        <span role="status" class="soft">${said}</span>
      </span>
    </div>
  `;
}

/** What an announcement says of its author. */
const said = (offer) => {
  try {
    return JSON.parse(offer.content) ?? {};
  } catch {
    return {};
  }
};

function Skills({ me, mine, setLive }) {
  const [note, setNote] = useState("");
  const about = mine ? said(mine) : {};
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
      setNote("Announced.");
      setLive(true);
    } catch (error) {
      setNote(error.message);
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
            <input id="price" name="price" inputmode="numeric" pattern="[0-9]*" value=${about.amount ?? "100"} />
          </div>
          <div class="field">
            <label for="tags">Words people search for</label>
            <input id="tags" name="tags" placeholder="voice-over, portrait" />
          </div>
        </div>
        <div class="field">
          <label for="lud16">
            Lightning address for your pay${" "}
            <span class="soft">optional; it makes the invoices for your pay where no wallet is connected</span>
          </label>
          <input id="lud16" name="lud16" placeholder="you@wallet.example" value=${about.lud16} />
        </div>
        <button>${mine ? "Announce again" : "Announce"}</button>
      </form>
    </details>
    <p role="status" class="small">${note}</p>
  `;
}

function Inbox() {
  const [me, setMe] = useState(undefined);
  const [offer, setOffer] = useState(null);
  const [live, setLive] = useState(false);
  const [tasks, addTask] = useReducer(store, new Map());
  const [news, hear] = useReducer(store, new Map());
  const delivered = me ? [...news.values()].filter((event) => isResult(event) && event.pubkey === me.pubkey) : [];
  const paid = usePaid(me, delivered);
  const at = useClock();
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
  const address = offer ? said(offer).lud16 : "";
  const skills = offer ? tags(offer, "k").map((t) => Number(t[1])) : [5820];
  useEffect(() => {
    if (!me) return undefined;
    const since = now() - 7 * 86400;
    const results = skills.map((kind) => kind + 1000);
    const stops = [
      relay.subscribe([{ kinds: skills, since, limit: 100 }], addTask),
      relay.subscribe(
        [
          { kinds: [7000, ...results], since, limit: 500 },
          { kinds: results, authors: [me.pubkey], limit: 500 },
        ],
        hear,
      ),
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
  const asked = delivered.reduce((sum, event) => sum + Number(tag(event, "amount") || 0), 0);
  const earned = delivered.reduce((sum, event) => sum + (paid.get(tag(event, "e")) ?? 0), 0);
  return html`
    <${Available} me=${me} at=${at} live=${live} setLive=${setLive} />
    <div class="numbers">
      <div>
        <b>${delivered.length}</b>
        <span>delivered</span>
      </div>
      <div>
        <b>${amount(earned).replace("free", "0")}</b>
        <span>earned, as your wallet or a receipt proves</span>
      </div>
      <div>
        <b>${amount(Math.max(0, asked - earned)).replace("free", "0")}</b>
        <span>asked for, not yet seen</span>
      </div>
    </div>
    <${Skills} me=${me} mine=${offer} setLive=${setLive} />
    <${Wallet} me=${me} earned=${earned} />
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
                    address=${address}
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
