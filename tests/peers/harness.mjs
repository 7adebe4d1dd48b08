// Runs the checks of one client and prints a line of JSON for each: what passed, what failed and why.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

export const given = JSON.parse(process.argv[2])
const require = createRequire(given.modules + '/x.js')
export const load = name => import(pathToFileURL(given.modules + '/node_modules/' + name).href)
globalThis.WebSocket = require('ws')

export const now = () => Math.floor(Date.now() / 1000)
export const sleep = ms => new Promise(done => setTimeout(done, ms))
export const within = (promise, ms, what) =>
  Promise.race([promise, sleep(ms).then(() => { throw new Error('too late: ' + what) })])

const patience = (given.seconds ?? 15) * 1000

async function one([name, check]) {
  try {
    const value = await within(check(), patience, name)
    console.log(JSON.stringify({ name, ok: true, value }))
  } catch (error) {
    console.log(JSON.stringify({ name, ok: false, value: String(error?.stack ?? error) }))
  }
}

export async function run(checks) {
  for (const check of Object.entries(checks)) await one(check)
  process.exit(0)
}

/** The checks of a whole shop, side by side: each order of `given.orders` bought once by `buy(order)`. */
export async function shop(buy) {
  await Promise.all(given.orders.map(order => one([order.name, () => buy(order)])))
  process.exit(0)
}
export { assert }
