// Preact with htm, and the few pieces that several islands share.
import { h, htm, renderSVG, useState } from "../vendor/ui.js";
import { node } from "./relay.js";

export * from "../vendor/ui.js";
export const html = htm.bind(h);

export const Qr = ({ text, label }) => html`
  <div
    class="qr"
    role="img"
    aria-label=${label}
    dangerouslySetInnerHTML=${{ __html: renderSVG(text, { border: 1 }) }}
  />
`;

export async function copy(text, button) {
  await navigator.clipboard.writeText(text);
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1500);
}

/** Only plain web addresses become links or media sources. */
export const safeUrl = (url) => (/^https?:\/\//i.test(url ?? "") && URL.canParse(url) ? url : null);

const NAMED = /\/[0-9a-f]{64}(\.[A-Za-z0-9]{1,12})?$/;

/** The path of a file that lies on this node, whichever of the node's names its address has; null for files elsewhere. */
export function ownPath(url) {
  if (!safeUrl(url)) return null;
  const { host, pathname } = new URL(url);
  return NAMED.test(pathname) && (host === location.host || node.hosts.includes(host)) ? pathname : null;
}

/** The small picture that the node makes of its own images, films and sounds. */
const thumbOf = (url, mime = "") =>
  /^(image|video|audio)\//.test(mime) && ownPath(url) ? `/thumb/${ownPath(url).slice(1, 65)}.webp` : null;

/** A link that leads away, marked as such: nothing of this page goes along. */
export const Away = ({ url, children }) => html`
  <a class="away" href=${safeUrl(url)} rel="noopener noreferrer nofollow ugc" target="_blank">${children}</a>
`;

/** A file to look at or listen to. One that lies elsewhere waits for a click: its host would learn of the visit. */
export function Media({ url, mime = "", alt = "the result" }) {
  const [wanted, want] = useState(false);
  const own = ownPath(url);
  if (!safeUrl(url) || !/^(image|video|audio)\//.test(mime)) return null;
  if (!own && !wanted)
    return html`
      <div class="note">
        <p>
          This file lies on${" "}
          <b>${new URL(url).host}</b>
          , which would see your address.
        </p>
        <div class="row">
          <button type="button" class="plain small" onClick=${() => want(true)}>Show it here</button>
          <${Away} url=${url}>Open it there<//>
        </div>
      </div>
    `;
  return html`
    <${Player} src=${own ?? url} mime=${mime} alt=${alt} poster=${thumbOf(url, mime)} />
  `;
}

/** The element that shows a picture or film, or plays a sound; none of them runs code of the file. */
export function Player({ src, mime, alt, poster }) {
  const common = { src, referrerpolicy: "no-referrer" };
  if (mime.startsWith("image/"))
    return html`
      <div class="player"><img ...${common} alt=${alt} /></div>
    `;
  if (mime.startsWith("audio/"))
    return html`
      <audio ...${common} controls preload="metadata" aria-label=${alt} />
    `;
  return html`
    <div class="player">
      <video ...${common} poster=${poster} controls playsinline preload="metadata" aria-label=${alt} />
    </div>
  `;
}

/** Seconds as people say them. */
export const spell = (seconds) =>
  seconds < 100
    ? `${Math.round(seconds)} s`
    : seconds < 6000
      ? `${Math.round(seconds / 60)} min`
      : `${Math.round(seconds / 3600)} h`;
export const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
