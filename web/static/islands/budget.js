// What the visitor allows this browser to spend in a day. Kept here, asked before every payment that this page starts.
const BUDGET = "timmy.budget",
  SPENT = "timmy.spent";
const today = () => new Date().toISOString().slice(0, 10);
const read = (key) => JSON.parse(localStorage.getItem(key) || "null");

/** msat a day; null for no limit. */
export const budget = () => read(BUDGET);
export const setBudget = (msat) =>
  msat === null ? localStorage.removeItem(BUDGET) : localStorage.setItem(BUDGET, JSON.stringify(msat));

/** msat spent today through this page. */
export function spentToday() {
  const noted = read(SPENT);
  return noted?.day === today() ? Object.values(noted.jobs).reduce((a, b) => a + b, 0) : 0;
}

export const spendable = () => (budget() === null ? Infinity : budget() - spentToday());

/** Note a payment; the same job is noted once. */
export function spent(job, msat) {
  const noted = read(SPENT);
  const jobs = noted?.day === today() ? noted.jobs : {};
  localStorage.setItem(SPENT, JSON.stringify({ day: today(), jobs: { ...jobs, [job]: msat } }));
}
