// The owner proves the key (NIP-98) and gets the operator's session.
import { postAs, signInWithExtension, who } from "./who.js";

document.getElementById("prove").addEventListener("click", async () => {
  const said = document.getElementById("said");
  try {
    const me = (await who()) ?? (await signInWithExtension());
    await postAs(me, "/login", {});
    location.href = "/wallet";
  } catch (error) {
    said.textContent = error.message;
  }
});
