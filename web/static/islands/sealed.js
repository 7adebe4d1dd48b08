// A file that was sealed for its buyer: fetched as noise, checked, opened in this tab, and never stored in clear.
import { sha256, unseal } from "./bytes.js";
import { html, ownPath, Player, useEffect, useState } from "./ui.js";

const MOST = 1 << 29; // bytes: a tab holds the file twice while it opens it
// What a tab may show of a stranger's file: nothing that can carry scripts. Everything else is only saved.
const SHOWN = /^(image\/(png|jpeg|webp|gif|avif)|audio\/[\w.+-]+|video\/(mp4|webm|ogg|quicktime))$/;

/** {blob, name} of the original. Throws, in words for the buyer, where the file is not what the result promised. */
async function opened({ url, x, m = "", seal }) {
  const answer = await fetch(ownPath(url) ?? url, { referrerPolicy: "no-referrer", credentials: "omit" }).catch(() => {
    throw new Error(`${new URL(url).host} does not hand out the file to this page.`);
  });
  if (!answer.ok) throw new Error(`The file cannot be had: ${new URL(url).host} answers ${answer.status}.`);
  if (Number(answer.headers.get("Content-Length") ?? 0) > MOST)
    throw new Error("The file is too large for a browser tab: `timmy open` gets it.");
  const noise = new Uint8Array(await answer.arrayBuffer());
  if (x && (await sha256(noise)) !== x.toLowerCase()) throw new Error("This is not the file that the seller signed.");
  const plain = await unseal(noise, seal);
  const hash = await sha256(plain);
  if (seal.ox && hash !== seal.ox.toLowerCase()) throw new Error("What was in the seal is not what the seller signed.");
  const type = SHOWN.test(m) ? m : "application/octet-stream";
  const ending = /^[\w-]+\/([a-z0-9]{2,5})$/.exec(m)?.[1] ?? "bin";
  return { blob: new Blob([plain], { type }), hash, name: `${hash.slice(0, 12)}.${ending}` };
}

export function Sealed({ file }) {
  const [wanted, want] = useState(Boolean(ownPath(file.url)));
  const [made, setMade] = useState(null);
  const [fault, setFault] = useState("");
  useEffect(() => {
    let src = "";
    let gone = false;
    const work = async () => {
      const { blob, hash, name } = await opened(file);
      if (gone) return;
      src = URL.createObjectURL(blob);
      setMade({ src, hash, name, mime: blob.type });
    };
    if (wanted) work().catch((error) => setFault(error.message));
    return () => {
      gone = true;
      if (src) URL.revokeObjectURL(src);
    };
  }, [wanted, file.url, file.seal.key]);
  if (fault)
    return html`
      <p class="note bad" role="alert">${fault}</p>
    `;
  if (!wanted)
    return html`
      <div class="note">
        <p>
          Sealed for you. It lies on${" "}
          <b>${new URL(file.url).host}</b>
          , which would see your address.
        </p>
        <button type="button" class="plain small" onClick=${() => want(true)}>Get it and open it</button>
      </div>
    `;
  if (!made)
    return html`
      <p class="note" role="status">Opening what was sealed for you…</p>
    `;
  return html`
    ${
      made.mime === "application/octet-stream"
        ? null
        : html`
            <${Player} src=${made.src} mime=${made.mime} alt=${file.alt ?? "the result"} />
          `
    }
    <p class="row small">
      <a href=${made.src} download=${made.name}>Download</a>
      <span class="badge good">sealed, opened here alone</span>
      <span class="soft mono" title=${made.hash}>sha256 ${made.hash.slice(0, 16)}…</span>
    </p>
  `;
}
