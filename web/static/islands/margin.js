// For the owner: what a margin means for this recipe, drawn from the announced prices.
import { amount } from "./relay.js";
import { html, render, useMemo, useState } from "./ui.js";

const root = document.getElementById("margin");
const steps = JSON.parse(root.dataset.steps);
const ODDS = 0.9; // chance that one try delivers, for sellers without history

/** Profit of many imagined runs at this margin, in msat: each step is tried until it works or its tries are spent. */
function simulate(margin, runs = 2000) {
  const cost = steps.map((step) => step.cheapest ?? step.max_msat);
  const expected = cost.reduce((sum, c, i) => sum + c * ((1 - (1 - ODDS) ** steps[i].tries) / ODDS), 0);
  const success = steps.reduce((p, step) => p * (1 - (1 - ODDS) ** step.tries), 1);
  const price = (expected / success) * (1 + margin);
  const profits = Array.from({ length: runs }, () => {
    let spent = 0;
    for (const [i, step] of steps.entries()) {
      let done = false;
      for (let tries = 0; tries < step.tries && !done; tries++) { spent += cost[i]; done = Math.random() < ODDS; }
      if (!done) return -spent;
    }
    return price - spent;
  });
  return { price, mean: profits.reduce((a, b) => a + b, 0) / runs, loss: profits.filter((p) => p < 0).length / runs };
}

function Margin() {
  const [margin, setMargin] = useState(0.25);
  const { price, mean, loss } = useMemo(() => simulate(margin), [margin]);
  return html`<h2>Your margin</h2><label for="mu">${Math.round(margin * 100)} % over break-even</label>
    <input id="mu" type="range" min="0" max="1" step="0.01" value=${margin} onInput=${(e) => setMargin(Number(e.target.value))} />
    <dl class="facts"><dt>Price</dt><dd>${amount(Math.round(price / 1000) * 1000)}</dd><dt>Mean profit</dt><dd>${amount(Math.round(mean / 1000) * 1000)}</dd><dt>Chance of a loss</dt><dd>${(loss * 100).toFixed(1)} %</dd></dl>`;
}

render(html`<${Margin} />`, root);
