// The operator changes settings and switches parts; the node validates and says what must start anew.
const said = document.getElementById("said");

async function tell(body) {
  const answer = await fetch("/admin", {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "Content-Type": "application/json" },
  });
  const value = await answer.json();
  said.textContent = answer.ok ? value.said : value.error;
  said.className = answer.ok ? "note" : "note bad";
  said.scrollIntoView({ block: "nearest" });
  return answer.ok;
}

for (const form of document.querySelectorAll("[data-set]"))
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await tell({ set: form.dataset.set, value: form.querySelector("input").value });
  });
for (const button of document.querySelectorAll("[data-part]"))
  button.addEventListener("click", async () => {
    const { part, action } = button.dataset;
    button.disabled = true;
    if (!(await tell({ part, action }))) {
      button.disabled = false;
      return;
    }
    setTimeout(() => location.reload(), part === "relay" ? 6000 : 2500);
  });
