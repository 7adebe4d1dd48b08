// A cashu-ts wallet: buys `sat` of ecash at a mint and prints a token; or takes a token and prints what it got.
import { Mint, Wallet, getEncodedToken } from "@cashu/cashu-ts";
import { createInterface } from "node:readline";

const [url, task, value] = process.argv.slice(2);
const wallet = new Wallet(new Mint(url), { unit: "sat" });
await wallet.loadMint();
if (task === "buy") {
  const quote = await wallet.createMintQuoteBolt11(Number(value));
  console.log(quote.request);
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === "paid") break;
  }
  for (let left = 100; left > 0; left--) {
    if ((await wallet.checkMintQuoteBolt11(quote.quote)).state === "PAID") break;
    await new Promise((done) => setTimeout(done, 100));
  }
  const proofs = await wallet.mintProofsBolt11(Number(value), quote);
  console.log(getEncodedToken({ mint: url, proofs, unit: "sat" }));
} else {
  const proofs = await wallet.receive(value);
  console.log(proofs.reduce((sum, proof) => sum + Number(proof.amount), 0));
}
process.exit(0);
