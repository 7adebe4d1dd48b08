// The browser as a Nostr client of the node's relay: one socket, reconnecting, subscriptions renewed, publishes kept until OK.

export const node = JSON.parse(document.getElementById("node").textContent);

const address = () => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/`;

class RelayClient extends EventTarget {
  #socket = null;
  #subscriptions = new Map();
  #waiting = new Map();
  #counter = 0;
  #delay = 250;
  up = false;

  #connect() {
    if (this.#socket) return;
    const socket = (this.#socket = new WebSocket(address()));
    socket.onopen = () => {
      this.#delay = 250;
      this.#setUp(true);
      for (const [id, sub] of this.#subscriptions) socket.send(JSON.stringify(["REQ", id, ...sub.filters]));
      for (const { event } of this.#waiting.values()) socket.send(JSON.stringify(["EVENT", event]));
    };
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = () => {
      this.#socket = null;
      this.#setUp(false);
      setTimeout(() => this.#connect(), this.#delay * (0.75 + Math.random() / 2));
      this.#delay = Math.min(this.#delay * 2, 8000);
    };
  }

  #setUp(up) {
    this.up = up;
    this.dispatchEvent(new CustomEvent("state", { detail: up }));
  }

  #send(message) {
    this.#connect();
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  async #receive([type, id, ...rest]) {
    const sub = this.#subscriptions.get(id);
    if (type === "EVENT" && sub) {
      const [event] = rest;
      if (sub.seen.has(event.id)) return;
      sub.seen.add(event.id);
      sub.onevent(event);
    } else if (type === "EOSE" && sub) sub.oneose?.();
    else if (type === "CLOSED" && sub) sub.onclosed?.(rest[0]);
    else if (type === "OK" && this.#waiting.has(id)) {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      rest[0] ? resolve() : reject(new Error(rest[1] || "the relay refused the event"));
    }
  }

  /** Live subscription; returns a function that ends it. `onevent` is called once for each event id. */
  subscribe(filters, onevent, { oneose, onclosed } = {}) {
    const id = `p${++this.#counter}`;
    this.#subscriptions.set(id, { filters, onevent, oneose, onclosed, seen: new Set() });
    this.#send(["REQ", id, ...filters]);
    return () => {
      this.#subscriptions.delete(id);
      this.#send(["CLOSE", id]);
    };
  }

  /** Stored events that match, newest first. */
  fetch(filters, timeout = 8000) {
    return new Promise((resolve) => {
      const found = [];
      const end = () => {
        stop();
        clearTimeout(timer);
        resolve(found.sort((a, b) => b.created_at - a.created_at));
      };
      const timer = setTimeout(end, timeout);
      const stop = this.subscribe(filters, (event) => found.push(event), {
        oneose: () => setTimeout(end),
        onclosed: end,
      });
    });
  }

  /** Resolves when the relay has stored the event; sent again after a reconnect until then. */
  publish(event) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(event.id, { event, resolve, reject });
      this.#send(["EVENT", event]);
    });
  }
}

export const relay = new RelayClient();

export const tag = (event, name) => event.tags.find((t) => t[0] === name)?.[1];
export const tags = (event, name) => event.tags.filter((t) => t[0] === name);
export const now = () => Math.floor(Date.now() / 1000);
export const unit = node.credits ? "credits" : "sat";

/** msat as people read it, exact. */
export function amount(msat) {
  if (msat === 0) return "free";
  const text = (msat / 1000).toLocaleString("en", { maximumFractionDigits: 3 });
  return `${text} ${unit}`;
}
