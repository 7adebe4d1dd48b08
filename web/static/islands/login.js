// The owner proves the key (NIP-98) and gets the operator's session.
import { now } from "./relay.js";
import { signInWithExtension, who } from "./who.js";

document.getElementById("prove").addEventListener("click", async () => {
  const said = document.getElementById("said");
  try {
    const me = (await who()) ?? (await signInWithExtension());
    const proof = await me.sign({
      kind: 27235,
      created_at: now(),
      content: "",
      tags: [
        ["u", `${location.origin}/login`],
        ["method", "POST"],
      ],
    });
    const answer = await fetch("/login", {
      method: "POST",
      headers: { Authorization: `Nostr ${btoa(JSON.stringify(proof))}` },
    });
    if (!answer.ok) throw new Error((await answer.json()).error);
    location.href = "/wallet";
  } catch (error) {
    said.textContent = error.message;
  }
});
