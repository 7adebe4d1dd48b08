// Report a service, a job or a task to the relay's operator and to everybody who reads reports (NIP-56).
import { node, now, relay } from "./relay.js";
import { html, render } from "./ui.js";
import { whoOrGuest } from "./who.js";

const TYPES = [
  ["spam", "Spam or a trick"],
  ["malware", "Malware"],
  ["illegal", "Against the law"],
  ["nudity", "Nudity without a warning"],
  ["profanity", "Hateful words"],
  ["impersonation", "Pretends to be somebody else"],
  ["other", "Something else"],
];

/** `event` and `sha256` may be empty: then the report is about the key. */
const reportTags = ({ pubkey, event, sha256 }, type) => [
  ["p", pubkey, ...(event ? [] : [type])],
  ...(event ? [["e", event, type]] : []),
  ...(sha256
    ? [
        ["x", sha256, type],
        ["server", location.origin],
      ]
    : []),
];

export function openReport(about) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-labelledby", "report");
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  const say = (text) => {
    dialog.querySelector("[role=status]").textContent = text;
  };
  const send = async (event) => {
    event.preventDefault();
    const data = new FormData(event.target);
    try {
      const me = await whoOrGuest();
      await relay.publish(
        await me.sign({
          kind: 1984,
          created_at: now(),
          content: String(data.get("text")).trim(),
          tags: reportTags(about, data.get("type")),
        }),
      );
      say("Reported. Thank you.");
      setTimeout(() => dialog.close(), 1200);
    } catch (error) {
      say(error.message);
    }
  };
  render(
    html`
      <form onSubmit=${send}>
        <h2 id="report">Report ${about.report}</h2>
        <p class="soft">The report is public and signed with your key. The operator of ${node.name} reads it.</p>
        <div class="field">
          <label for="type">What is wrong</label>
          <select id="type" name="type">
            ${TYPES.map(
              ([value, label]) => html`
                <option value=${value}>${label}</option>
              `,
            )}
          </select>
        </div>
        <div class="field">
          <label for="report-text">
            In your words${" "}
            <span class="soft">optional</span>
          </label>
          <textarea id="report-text" name="text" maxlength="1000" />
        </div>
        <div class="row">
          <button>Report</button>
          <button type="button" class="plain" onClick=${() => dialog.close()}>Close</button>
          <span role="status" />
        </div>
      </form>
    `,
    dialog,
  );
  dialog.showModal();
}
