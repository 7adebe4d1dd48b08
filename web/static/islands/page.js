// On every page: who is signed in, keys for the keyboard, relative times that stay true.
import { relay } from "./relay.js";
import { offerConnection, signInAsGuest, signInWithBunker, signInWithExtension, signOut, who } from "./who.js";

const corner = document.getElementById("who");
const names = { nip07: "Extension", nip46: "Remote signer", guest: "Guest" };

async function showWho() {
  const me = await who();
  const button = document.createElement("button");
  button.className = "plain small";
  button.textContent = me ? `${names[me.kind]} ${me.pubkey.slice(0, 6)}` : "Sign in";
  button.addEventListener("click", () => openDialog(me));
  corner.replaceChildren(button);
}

async function openDialog(me) {
  const { html, render, Qr } = await import("./ui.js");
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "signin");
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  const say = (text) => {
    dialog.querySelector("[role=alert]").textContent = text;
  };
  const attempt = (work) => async (event) => {
    event?.preventDefault();
    try {
      await work(event);
      dialog.close();
    } catch (error) {
      say(error.message);
    }
  };
  const qr = async () => {
    const { uri, signer } = await offerConnection();
    render(
      html`
        <div class="row">
          <${Qr} text=${uri} label="nostrconnect address" />
          <p class="bolt grow" id="connect-uri" tabindex="0">${uri}</p>
        </div>
      `,
      dialog.querySelector("#qr"),
    );
    signer.then(
      () => dialog.close(),
      (error) => say(error.message),
    );
  };
  const signedIn = () => html`
    <h2 id="signin">You are signed in</h2>
    <p class="mono small">${me.pubkey}</p>
    ${
      me.kind === "guest"
        ? html`
            <p class="note money">
              This is a throw-away key. It lives in this tab and is gone when you close it, with everything you bought
              under it.
            </p>
          `
        : ""
    }
    <div class="row">
      <button type="button" onClick=${attempt(signOut)}>Sign out</button>
      <button class="plain" type="button" onClick=${() => dialog.close()}>Close</button>
    </div>
    <p role="alert" />
  `;
  const signedOut = () => html`
    <h2 id="signin">Sign in with your Nostr key</h2>
    <p class="soft">
      Your secret key stays with you: an extension or a remote signer signs, or a guest key made in this tab.
    </p>
    <p class="row">
      <button type="button" onClick=${attempt(signInWithExtension)}>Browser extension</button>
      <button class="plain" type="button" onClick=${attempt(signInAsGuest)}>Continue as a guest</button>
    </p>
    <form onSubmit=${attempt((event) => signInWithBunker(new FormData(event.target).get("bunker")))}>
      <label for="bunker">Remote signer</label>
      <div class="row">
        <input class="grow" id="bunker" name="bunker" placeholder="bunker://…" autocomplete="off" />
        <button class="plain">Connect</button>
      </div>
    </form>
    <p>
      <button
        class="plain small"
        type="button"
        onClick=${attempt(async () => {
          await qr();
          throw new Error("Scan the code with your signer app.");
        })}
      >
        Show a QR code instead
      </button>
    </p>
    <div id="qr" />
    <p role="alert" class="small" />
  `;
  render(me ? signedIn() : signedOut(), dialog);
  dialog.showModal();
}

document.addEventListener("click", async (event) => {
  const { dataset } = event.target.closest("[data-report]") ?? {};
  if (dataset) (await import("./report.js")).openReport(dataset);
});

const keys = { "/": "search", n: "new", j: "next", k: "previous", "?": "help" };

function move(step) {
  const cards = [...document.querySelectorAll("[data-item]")];
  const shown = cards.filter((card) => !card.hidden);
  if (!shown.length) return;
  const before = shown.findIndex(
    (card) => card.contains(document.activeElement) || card.classList.contains("selected"),
  );
  for (const card of cards) card.classList.remove("selected");
  const next = shown[Math.min(Math.max(before + step, 0), shown.length - 1)];
  next.classList.add("selected");
  const focus = next.querySelector("h3 a, a, button, input") ?? next;
  if (focus === next) next.tabIndex = -1;
  focus.focus();
}

function help() {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "keys");
  dialog.innerHTML = `<h2 id="keys">Keys</h2><dl class="facts"><dt><kbd>/</kbd></dt><dd>search</dd><dt><kbd>n</kbd></dt><dd>new job</dd>
    <dt><kbd>j</kbd> <kbd>k</kbd></dt><dd>next, previous</dd><dt><kbd>Enter</kbd></dt><dd>open</dd><dt><kbd>?</kbd></dt><dd>this</dd></dl>
    <form method="dialog"><button class="plain">Close</button></form>`;
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
  const action = keys[event.key];
  if (!action) return;
  event.preventDefault();
  if (action === "search") (document.querySelector("[data-search]") ?? document.querySelector("input"))?.focus();
  if (action === "new") location.href = "/new/music-video";
  if (action === "next") move(1);
  if (action === "previous") move(-1);
  if (action === "help") help();
});

// While the connection is gone the page says so, wherever it listens to the relay, and heals by itself.
relay.addEventListener("state", ({ detail: up }) => {
  document.getElementById("offline")?.remove();
  if (up) return;
  const note = document.createElement("p");
  Object.assign(note, { id: "offline", className: "note bad" });
  note.setAttribute("role", "status");
  note.textContent = "The connection to the relay is gone; trying again. Nothing is lost, and this page goes on by itself.";
  document.body.append(note);
});

document.addEventListener("timmy:who", showWho);
showWho();
// On a telephone the menu is longer than the screen: where the visitor is comes into view.
document.querySelector("nav.main [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
