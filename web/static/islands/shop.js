// Filter the shelf while typing; the server does the same for a visitor without JavaScript.
const field = document.getElementById("q");
const none = document.getElementById("none");

field?.addEventListener("input", () => {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const card of document.querySelectorAll("#shelf > li")) {
    card.hidden = !words.every((word) => card.dataset.words.includes(word));
    shown += !card.hidden;
  }
  if (none) none.hidden = shown > 0;
});
