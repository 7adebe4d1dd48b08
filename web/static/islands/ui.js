// Preact with htm, and the few pieces that several islands share.
import { h, htm, renderSVG } from "../vendor/ui.js";

export * from "../vendor/ui.js";
export const html = htm.bind(h);

export const Qr = ({ text, label }) => html`<div class="qr" role="img" aria-label=${label}
  dangerouslySetInnerHTML=${{ __html: renderSVG(text, { border: 1 }) }} />`;

export async function copy(text, button) {
  await navigator.clipboard.writeText(text);
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1500);
}

/** Only plain web addresses become links or media sources. */
export const safeUrl = (url) => (/^https?:\/\//i.test(url ?? "") ? url : null);

export const Media = ({ url, mime = "", alt = "", poster, still = false }) => {
  const source = safeUrl(url);
  if (!source) return null;
  if (mime.startsWith("image/")) return html`<div class="player"><img src=${source} alt=${alt || "the result"} /></div>`;
  if (mime.startsWith("video/")) return html`<div class="player"><video src=${still ? `${source}#t=1` : source} poster=${safeUrl(poster)} controls playsinline muted=${still} preload="metadata" aria-label=${alt || "the result"} /></div>`;
  if (mime.startsWith("audio/")) return html`<audio src=${source} controls preload="metadata" aria-label=${alt || "the result"} />`;
  return null;
};
