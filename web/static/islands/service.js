// On a service's page its seller may answer reviews, signed with the seller's key (31117 with the role of the provider).
import { node, now, relay } from "./relay.js";
import { html, render, useState } from "./ui.js";
import { who } from "./who.js";

function Answer({ me, about }) {
  const [said, setSaid] = useState("");
  const send = async (event) => {
    event.preventDefault();
    const text = String(new FormData(event.target).get("text")).trim();
    try {
      const tags = [
        ["d", about.job],
        ["e", about.job, node.relay, "request"],
        ["e", about.answer, node.relay, "review"],
        ["p", about.buyer],
        ["k", about.kind],
        ["rating", "5"],
        ["role", "provider"],
        ["alt", "A seller's answer to a review"],
      ];
      await relay.publish(await me.sign({ kind: 31117, created_at: now(), content: text, tags }));
      location.reload();
    } catch (error) {
      setSaid(error.message);
    }
  };
  return html`
    <details class="small">
      <summary>Answer as the seller</summary>
      <form onSubmit=${send}>
        <label class="hidden" for=${`a${about.answer}`}>Your answer</label>
        <textarea id=${`a${about.answer}`} name="text" required maxlength="500" />
        <p class="row">
          <button class="small">Publish the answer</button>
          <span role="status">${said}</span>
        </p>
      </form>
    </details>
  `;
}

const report = document.querySelector("[data-report]");
const me = await who();
if (me && report?.dataset.pubkey === me.pubkey)
  for (const place of document.querySelectorAll("[data-answer]"))
    render(
      html`
        <${Answer} me=${me} about=${place.dataset} />
      `,
      place,
    );
