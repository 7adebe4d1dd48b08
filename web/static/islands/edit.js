// The recipe editor: a form and the JSON beside it, both on the same text; the node's type check speaks while one writes.
// Published with the visitor's key.
import { now, relay } from "./relay.js";
import { html, render, useEffect, useState } from "./ui.js";
import { whoOrGuest } from "./who.js";

const root = document.getElementById("edit");
const first = document.getElementById("source").value;
const kinds = JSON.parse(document.getElementById("kinds").textContent);
const parent = root.dataset.parent;
const mimes = { 5050: "text/*", 5100: "image/*", 5202: "video/*", 5203: "video/mp4", 5250: "audio/*", 5251: "audio/*" };

async function check(source) {
  const answer = await fetch("/recipes/check", { method: "POST", body: source });
  const found = await answer.json();
  return answer.ok ? found : { problems: [found.error] };
}

const parse = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
};

/** The text, laid out so that a step's short lists stay on one line. */
const write = (doc) =>
  JSON.stringify(doc, null, 2).replace(
    /\[\s+("[^[\]{}]*?)\s+\]/g,
    (_, inner) => `[${inner.replace(/\s*\n\s*/g, " ")}]`,
  );

const Field = ({ id, label, value, set, hint, ...rest }) => html`
  <div class="field grow">
    <label for=${id}>${label}</label>
    <input id=${id} value=${value ?? ""} onChange=${(e) => set(e.target.value)} autocomplete="off" ...${rest} />
    ${
      hint
        ? html`
            <p class="hint">${hint}</p>
          `
        : null
    }
  </div>
`;

function Inputs({ doc, change }) {
  const entries = Object.entries(doc.inputs ?? {});
  return html`
    <fieldset>
      <legend>What the buyer gives</legend>
      ${entries.map(
        ([name, schema], i) => html`
          <div class="row" key=${i}>
            <${Field}
              id=${`in${i}`}
              label="Name"
              value=${name}
              set=${(text) =>
                change((d) => {
                  d.inputs = Object.fromEntries(entries.map(([n, s], j) => [j === i ? text : n, s]));
                })}
            />
            <div class="field grow">
              <label for=${`it${i}`}>Type</label>
              <select
                id=${`it${i}`}
                value=${schema.type}
                onChange=${(e) =>
                  change((d) => {
                    d.inputs[name].type = e.target.value;
                  })}
              >
                ${["string", "integer", "number", "boolean"].map(
                  (type) => html`
                    <option>${type}</option>
                  `,
                )}
              </select>
            </div>
            <${Field}
              id=${`id${i}`}
              label="Meaning"
              value=${schema.description}
              set=${(text) =>
                change((d) => {
                  d.inputs[name].description = text;
                })}
            />
            <button
              type="button"
              class="danger small"
              aria-label=${`Remove the input ${name}`}
              onClick=${() =>
                change((d) => {
                  delete d.inputs[name];
                })}
            >
              Remove
            </button>
          </div>
        `,
      )}
      <button
        type="button"
        class="plain small"
        onClick=${() =>
          change((d) => {
            d.inputs = { ...d.inputs, [`input${entries.length + 1}`]: { type: "string" } };
          })}
      >
        Add an input
      </button>
    </fieldset>
  `;
}

/** Pairs or triples of texts as rows of fields: what a step gets, its parameters. */
function Rows({ id, legend, rows, names, set, fresh }) {
  return html`
    <fieldset>
      <legend>${legend}</legend>
      ${rows.map(
        (row, i) => html`
          <div class="row" key=${i}>
            ${names.map(
              (label, j) => html`
                <div class="grow">
                  <label class="hidden" for=${`${id}${i}.${j}`}>${label}</label>
                  <input
                    id=${`${id}${i}.${j}`}
                    placeholder=${label}
                    value=${row[j] ?? ""}
                    autocomplete="off"
                    onChange=${(e) => {
                      const made = rows.map((old) => [...old]);
                      made[i][j] = e.target.value;
                      set(made.map((old) => (old.length > 2 && !old.at(-1) ? old.slice(0, -1) : old)));
                    }}
                  />
                </div>
              `,
            )}
            <button
              type="button"
              class="danger small"
              aria-label=${`Remove row ${i + 1} of ${legend}`}
              onClick=${() => set(rows.filter((_, j) => j !== i))}
            >
              ✕
            </button>
          </div>
        `,
      )}
      <button type="button" class="plain small" onClick=${() => set([...rows, fresh])}>Add</button>
    </fieldset>
  `;
}

function Step({ name, step, doc, change }) {
  const put = (field, value) =>
    change((d) => {
      if (value === "" || value === undefined) delete d.steps[name][field];
      else d.steps[name][field] = value;
    });
  const rename = (text) =>
    change((d) => {
      d.steps = Object.fromEntries(Object.entries(d.steps).map(([n, s]) => [n === name ? text : n, s]));
      if (d.output === `$${name}`) d.output = `$${text}`;
    });
  return html`
    <details class="panel step" open data-step-form=${name}>
      <summary>
        <b>${name}</b>
        ${" "}
        <span class="soft">${kinds.find(([kind]) => kind === step.kind)?.[1] ?? `kind ${step.kind}`}</span>
      </summary>
      <div class="row">
        <${Field} id=${`n.${name}`} label="Name of the step" value=${name} set=${rename} />
        <div class="field grow">
          <label for=${`k.${name}`}>Buys</label>
          <select
            id=${`k.${name}`}
            value=${step.kind}
            onChange=${(e) =>
              change((d) => {
                const kind = Number(e.target.value);
                d.steps[name].kind = kind;
                d.steps[name].out = { mime: mimes[kind] ?? "text/*" };
              })}
          >
            ${kinds.map(
              ([kind, title]) => html`
                <option value=${kind} selected=${kind === step.kind}>${title}</option>
              `,
            )}
          </select>
        </div>
      </div>
      <${Rows}
        id=${`i.${name}`}
        legend="It gets"
        rows=${step.i ?? []}
        names=${["text, $inputs.name or $step", "text or url", "role"]}
        set=${(rows) => put("i", rows)}
        fresh=${["$inputs.prompt", "text"]}
      />
      <${Rows}
        id=${`p.${name}`}
        legend="Parameters"
        rows=${Object.entries(step.param ?? {})}
        names=${["name", "value"]}
        set=${(rows) => put("param", rows.length ? Object.fromEntries(rows.map(([n, v]) => [n, typeof v === "string" && /^\d+$/.test(v) ? Number(v) : v])) : undefined)}
        fresh=${["", ""]}
      />
      <div class="row">
        <${Field}
          id=${`o.${name}`}
          label="Delivers"
          value=${step.out?.mime}
          set=${(text) =>
            change((d) => {
              d.steps[name].out = { ...d.steps[name].out, mime: text };
            })}
        />
        <${Field}
          id=${`m.${name}`}
          label="At most (sat)"
          inputmode="numeric"
          value=${(step.max_msat ?? 0) / 1000}
          set=${(text) => put("max_msat", Math.round(Number(text) * 1000))}
        />
        <${Field}
          id=${`t.${name}`}
          label="Tries"
          inputmode="numeric"
          value=${step.tries}
          set=${(text) => put("tries", text ? Number(text) : undefined)}
        />
        <${Field} id=${`e.${name}`} label="For each of" value=${step.each} set=${(text) => put("each", text)} />
      </div>
      <div class="row spread">
        <label class="row">
          <input
            type="checkbox"
            checked=${step.optional}
            onChange=${(e) => put("optional", e.target.checked || undefined)}
          />
          Go on without it if it fails
        </label>
        <button
          type="button"
          class="danger small"
          onClick=${() =>
            change((d) => {
              delete d.steps[name];
            })}
        >
          Remove the step
        </button>
      </div>
    </details>
  `;
}

function Form({ doc, change }) {
  const steps = Object.entries(doc.steps ?? {});
  const add = () =>
    change((d) => {
      d.steps = {
        ...d.steps,
        [`step${steps.length + 1}`]: {
          kind: 5100,
          i: [["$inputs.prompt", "text"]],
          out: { mime: "image/*" },
          max_msat: 30000,
        },
      };
    });
  return html`
    <div class="panel">
      <div class="row">
        <${Field}
          id="title"
          label="Title"
          value=${doc.title}
          set=${(text) =>
            change((d) => {
              d.title = text;
            })}
        />
        <${Field}
          id="d"
          label="Short name"
          value=${doc.d}
          set=${(text) =>
            change((d) => {
              d.d = text;
            })}
          pattern="[a-z0-9\\-]+"
        />
      </div>
      <${Field}
        id="about"
        label="What it makes"
        value=${doc.about}
        set=${(text) =>
          change((d) => {
            if (text) d.about = text;
            else delete d.about;
          })}
      />
      <${Inputs} doc=${doc} change=${change} />
    </div>
    ${steps.map(
      ([name, step]) => html`
        <${Step} key=${name} name=${name} step=${step} doc=${doc} change=${change} />
      `,
    )}
    <div class="row">
      <button type="button" class="plain" id="add-step" onClick=${add}>Add a step</button>
      <div class="grow">
        <label for="output">The result is</label>
        <select
          id="output"
          value=${doc.output}
          onChange=${(e) =>
            change((d) => {
              d.output = e.target.value;
            })}
        >
          ${steps.map(
            ([name]) => html`
              <option value=${`$${name}`} selected=${doc.output === `$${name}`}>${name}</option>
            `,
          )}
        </select>
      </div>
    </div>
  `;
}

function Edit() {
  const [source, setSource] = useState(first);
  const [tab, setTab] = useState("form");
  const [found, setFound] = useState({ problems: [] });
  const [said, setSaid] = useState("");
  const doc = parse(source);
  useEffect(() => {
    const timer = setTimeout(
      async () => setFound(await check(source).catch((error) => ({ problems: [error.message] }))),
      200,
    );
    return () => clearTimeout(timer);
  }, [source]);
  const change = (work) => {
    const copy = parse(source);
    work(copy);
    setSource(write(copy));
  };
  const publish = async () => {
    try {
      const me = await whoOrGuest();
      const recipe = JSON.parse(found.canonical);
      const tags = [
        ["d", recipe.d],
        ["title", recipe.title],
        ...found.kinds.map((kind) => ["k", String(kind)]),
        ["K", "5260"],
        ...Object.entries(recipe.inputs).map(([name, schema]) => ["in", name, schema.type]),
        ["license", recipe.license ?? "CC0-1.0"],
        ["alt", `Recipe: ${recipe.title}`],
      ];
      if (parent) tags.push(["a", parent, "", "fork"], ["zap", parent.split(":")[1], "", "1"]);
      else tags.push(["zap", me.pubkey, "", "1"]);
      await relay.publish(await me.sign({ kind: 35990, created_at: now(), content: found.canonical, tags }));
      location.href = `/recipe/35990:${me.pubkey}:${recipe.d}`;
    } catch (error) {
      setSaid(error.message);
    }
  };
  const tabs = html`
    <div class="tabs">
      ${[
        ["form", "Form"],
        ["json", "JSON"],
      ].map(
        ([value, label]) => html`
          <button type="button" class="chip" aria-pressed=${String(tab === value)} onClick=${() => setTab(value)}>
            ${label}
          </button>
        `,
      )}
    </div>
  `;
  const json = html`
    <label for="source">The recipe as JSON</label>
    <textarea
      id="source"
      rows="30"
      class="mono"
      spellcheck="false"
      value=${source}
      onInput=${(e) => setSource(e.target.value)}
      aria-describedby="problems"
    />
  `;
  const unreadable = html`
    <p class="note bad">The JSON can't be read at the moment; mend it under “JSON”.</p>
  `;
  return html`
    ${tabs}
    ${
      found.graph
        ? html`
            <div
              class="panel graph"
              tabindex="0"
              role="group"
              aria-label="The steps as a graph"
              dangerouslySetInnerHTML=${{ __html: found.graph }}
            />
          `
        : null
    }
    <div class="two">
      <div>
        ${
          tab === "json"
            ? json
            : doc
              ? html`
                  <${Form} doc=${doc} change=${change} />
                `
              : unreadable
        }
      </div>
      <div class="sticky">
        <div class="panel" id="problems" role="status" aria-live="polite">
          <h3>
            ${found.problems.length ? `${found.problems.length} to mend` : found.canonical ? "It type-checks" : "Checking…"}
          </h3>
          <ul>
            ${found.problems.map(
              (text) => html`
                <li>${text}</li>
              `,
            )}
          </ul>
        </div>
        <button disabled=${found.problems.length || !found.canonical} onClick=${publish}>Publish it</button>
        ${" "}
        <span role="status">${said}</span>
      </div>
    </div>
  `;
}

render(
  html`
    <${Edit} />
  `,
  (root.replaceChildren(), root),
);
