// The operator makes and revokes wallet connections.
import { html, Qr, render, copy, useState } from "./ui.js";

async function call(body) {
  const answer = await fetch("/wallet/connections", {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json" },
  });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error);
  return value;
}

function Connect() {
  const [uri, setUri] = useState("");
  const [said, setSaid] = useState("");
  const make = async (event) => {
    event.preventDefault();
    const data = new FormData(event.target);
    try {
      const budget = Number(data.get("budget"));
      const made = await call({
        action: "create",
        name: data.get("name"),
        scopes: data.getAll("scope"),
        ...(budget ? { budget_msat: budget * 1000, renewal: data.get("renewal") } : {}),
      });
      setUri(made.uri);
      setSaid("");
    } catch (error) {
      setSaid(error.message);
    }
  };
  if (uri)
    return html`
      <div class="panel">
        <h3>The connection</h3>
        <p>Shown once. Scan it with an app that speaks NWC, or copy it.</p>
        <div class="row">
          <${Qr} text=${uri} label="wallet connection" />
          <div class="grow">
            <p class="bolt" id="uri" tabindex="0">${uri}</p>
            <button class="plain small" onClick=${(e) => copy(uri, e.target)}>Copy</button>
            ${" "}
            <button class="plain small" onClick=${() => location.reload()}>Done</button>
          </div>
        </div>
      </div>
    `;
  return html`
    <details>
      <summary>New connection</summary>
      <form onSubmit=${make}>
        <div class="field">
          <label for="name">Name</label>
          <input id="name" name="name" required maxlength="40" pattern="[A-Za-z0-9_\\-]+" />
        </div>
        <fieldset class="field">
          <legend>It may</legend>
          ${[
            ["pay", "pay invoices"],
            ["receive", "make invoices"],
            ["read", "see balance and history"],
          ].map(
            ([value, text]) => html`
              <label class="row">
                <input type="checkbox" name="scope" value=${value} checked />
                ${text}
              </label>
            `,
          )}
        </fieldset>
        <div class="row">
          <div class="field grow">
            <label for="budget">
              Budget${" "}
              <span class="soft">(sat; empty for none)</span>
            </label>
            <input id="budget" name="budget" inputmode="numeric" pattern="[0-9]*" value="1000" />
          </div>
          <div class="field grow">
            <label for="renewal">Renewed</label>
            <select id="renewal" name="renewal">
              <option>daily</option>
              <option>weekly</option>
              <option>monthly</option>
              <option>never</option>
            </select>
          </div>
        </div>
        <button>Make it</button>
        ${" "}
        <span role="status">${said}</span>
      </form>
    </details>
  `;
}

render(
  html`
    <${Connect} />
  `,
  document.getElementById("connect"),
);
for (const button of document.querySelectorAll("[data-revoke]"))
  button.addEventListener("click", async () => {
    if (!confirm(`Revoke “${button.dataset.revoke}”? Whoever uses it is cut off at once.`)) return;
    try {
      await call({ action: "revoke", name: button.dataset.revoke });
      location.reload();
    } catch (error) {
      alert(error.message);
    }
  });
