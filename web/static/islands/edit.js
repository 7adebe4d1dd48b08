// The recipe editor: JSON on the left, what the type check says at once, and the graph. Published with the visitor's key.
import { now, relay } from "./relay.js";
import { html, render, useEffect, useState } from "./ui.js";
import { whoOrGuest } from "./who.js";

const root = document.getElementById("edit");
const first = document.getElementById("source").value;
const parent = root.dataset.parent;

async function check(source) {
  const answer = await fetch("/recipes/check", { method: "POST", body: source });
  return answer.json();
}

function Edit() {
  const [source, setSource] = useState(first);
  const [found, setFound] = useState({ problems: [] });
  const [said, setSaid] = useState("");
  useEffect(() => {
    const timer = setTimeout(async () => setFound(await check(source).catch((error) => ({ problems: [error.message] }))), 250);
    return () => clearTimeout(timer);
  }, [source]);
  const publish = async () => {
    try {
      const me = await whoOrGuest();
      const recipe = JSON.parse(found.canonical);
      const tags = [["d", recipe.d], ["title", recipe.title], ...found.kinds.map((kind) => ["k", String(kind)]), ["K", "5260"],
        ...Object.entries(recipe.inputs).map(([name, schema]) => ["in", name, schema.type]), ["license", recipe.license ?? "CC0-1.0"], ["alt", `Recipe: ${recipe.title}`]];
      if (parent) tags.push(["a", parent, "", "fork"], ["zap", parent.split(":")[1], "", "1"]);
      else tags.push(["zap", me.pubkey, "", "1"]);
      await relay.publish(await me.sign({ kind: 35990, created_at: now(), content: found.canonical, tags }));
      location.href = `/recipe/35990:${me.pubkey}:${recipe.d}`;
    } catch (error) { setSaid(error.message); }
  };
  return html`<div class="two"><div><label for="source">The recipe as JSON</label>
    <textarea id="source" rows="26" class="mono" spellcheck="false" value=${source} onInput=${(e) => setSource(e.target.value)} aria-describedby="problems" /></div>
    <div><div class="panel" id="problems" role="status" aria-live="polite"><h3>${found.problems.length ? `${found.problems.length} to mend` : "It type-checks"}</h3>
      <ul>${found.problems.map((text) => html`<li>${text}</li>`)}</ul></div>
      ${found.graph ? html`<div class="panel graph" tabindex="0" role="group" aria-label="The steps as a graph" dangerouslySetInnerHTML=${{ __html: found.graph }} />` : null}
      <button disabled=${found.problems.length || !found.canonical} onClick=${publish}>Publish it</button> <span role="status">${said}</span></div></div>`;
}

render(html`<${Edit} />`, (root.replaceChildren(), root));
