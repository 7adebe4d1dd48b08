// Alby's wallet service with a small wallet of our making behind it, for our client. One line with the URI, then serves.
import { given, load } from '../../peers/harness.mjs'
import { createHash, randomBytes } from 'node:crypto'

const { NWCWalletService, NWCWalletServiceKeyPair } = await load('@getalby/sdk/dist/esm/nwc.js')
const { generateSecretKey, getPublicKey } = await load('nostr-tools/lib/esm/pure.js')
const hex = bytes => Buffer.from(bytes).toString('hex')
const wallet = generateSecretKey(), client = generateSecretKey()
const service = new NWCWalletService({ relayUrl: given.url })
await service.publishWalletServiceInfoEvent(hex(wallet),
  ['get_info', 'get_balance', 'make_invoice', 'pay_invoice', 'lookup_invoice', 'list_transactions'], [])
const payments = new Map()
const ok = result => Promise.resolve({ result, error: undefined })
const error = (code, message) => Promise.resolve({ result: undefined, error: { code, message } })
const never = new Promise(() => {})

await service.subscribe(new NWCWalletServiceKeyPair(hex(wallet), getPublicKey(client)), {
  getInfo: () => ok({ alias: 'alby', network: 'regtest', methods: ['pay_invoice'], color: '', pubkey: '', block_height: 1, block_hash: '' }),
  getBalance: () => ok({ balance: 123000 }),
  payInvoice({ invoice }) {
    const known = given.invoices[invoice]          // { mood, preimage, payment_hash }
    if (!known) return error('OTHER', 'no such invoice')
    payments.set(known.payment_hash, { ...known, tries: (payments.get(known.payment_hash)?.tries ?? 0) + 1 })
    if (known.mood === 'pays') return ok({ preimage: known.preimage })
    if (known.mood === 'silent' || known.mood === 'late') return never
    if (known.mood === 'lies') return ok({ preimage: '00'.repeat(32) })
    if (known.mood === 'broke') return error('INSUFFICIENT_BALANCE', 'not enough')
    return error('PAYMENT_FAILED', 'timeout')      // said to fail, and settled all the same
  },
  lookupInvoice({ payment_hash }) {
    const known = payments.get(payment_hash)
    if (!known) return error('NOT_FOUND', 'nothing')
    const base = { type: 'outgoing', payment_hash, amount: 5000, created_at: 1, fees_paid: 3 }
    if (known.mood === 'late' || known.mood === 'wrong') return ok({ ...base, preimage: known.preimage, settled_at: 5 })
    if (known.mood === 'silent') return ok({ ...base, state: 'pending' })
    return ok({ ...base, state: 'failed' })
  },
})
console.log(JSON.stringify({ uri: `nostr+walletconnect://${getPublicKey(wallet)}?relay=${encodeURIComponent(given.url)}&secret=${hex(client)}` }))
