// Order a job: the server made the form from what the seller announced; here it becomes a signed request (NIP-90).
import { node, now, relay } from "./relay.js";
import { whoOrGuest } from "./who.js";

const form = document.getElementById("order");
const about = JSON.parse(document.getElementById("service").textContent);
const status = form.querySelector("[role=status]");

/** The tags of a request, from the form's fields: `i` for inputs, `param` for everything the seller announced. */
function requestTags(data) {
  const tags = [];
  for (const [name, value] of data) {
    const text = String(value).trim();
    if (!text) continue;
    if (name === "input") tags.push(["i", text, /^https?:\/\/\S+$/.test(text) ? "url" : "text"]);
    else if (name.startsWith("param:")) tags.push(["param", name.slice(6), text]);
  }
  return tags;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button[type=submit]");
  button.disabled = true;
  try {
    status.textContent = "Signing…";
    const me = await whoOrGuest();
    const data = new FormData(form);
    const tags = requestTags(data);
    const hidden = data.get("private") === "on";
    const common = [["p", about.provider], ...(about.announcement ? [["a", about.announcement]] : [])];
    const rest = [["relays", node.relay], ...(about.output ? [["output", about.output]] : [])];
    const maximum = Number(data.get("max"));
    if (maximum > 0) rest.push(["bid", String(maximum * 1000)]);
    const secret = [...tags, ...rest, ["param", "encryption-algorithm", "aes-gcm"]]; // sealed files can be opened here
    const template = {
      kind: about.kind,
      created_at: now(),
      content: hidden ? await me.encrypt(about.provider, JSON.stringify(secret)) : "",
      tags: hidden ? [...common, ["encrypted"]] : [...tags, ...rest, ...common],
    };
    const request = await me.sign(template);
    status.textContent = "Asking the relay…";
    await relay.publish(request);
    location.href = `/job/${request.id}`;
  } catch (error) {
    status.textContent = error.message;
    button.disabled = false;
  }
});
