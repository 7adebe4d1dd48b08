// For the owner: what a margin means for this recipe. The server ran the numbers; the slider walks through them.
import { amount } from "./relay.js";
import { html, render, useState } from "./ui.js";

const root = document.getElementById("margin");
const table = root ? JSON.parse(root.dataset.margins) : [];

function Margin() {
  const [at, setAt] = useState(5);
  const [said, setSaid] = useState("");
  const { margin, price_msat, profit_msat, loss } = table[at];
  const save = async () => {
    const answer = await fetch("/admin", {
      method: "POST",
      body: JSON.stringify({ set: "orchestrator.margin", value: String(margin / 100) }),
    });
    const value = await answer.json();
    setSaid(answer.ok ? value.said : value.error);
  };
  return html`
    <h2>Your margin</h2>
    <label for="mu">${margin} % over break-even</label>
    <input
      id="mu"
      type="range"
      min="0"
      max=${table.length - 1}
      step="1"
      value=${at}
      onInput=${(e) => setAt(Number(e.target.value))}
    />
    <div class="numbers">
      <div>
        <b>${amount(price_msat)}</b>
        <span>price</span>
      </div>
      <div>
        <b>${amount(profit_msat)}</b>
        <span>mean profit of a run</span>
      </div>
      <div>
        <b>${(loss * 100).toFixed(1)} %</b>
        <span>of runs lose money</span>
      </div>
    </div>
    <p class="row">
      <button class="plain small" onClick=${save}>Make it Timmy's least margin</button>
      ${" "}
      <span role="status" class="small">${said}</span>
    </p>
    <p class="small soft">500 runs drawn with the present prices and scores, by the same arithmetic as the quotes.</p>
  `;
}

if (root)
  render(
    html`
      <${Margin} />
    `,
    root,
  );
