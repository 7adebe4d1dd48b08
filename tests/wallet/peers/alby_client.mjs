// Alby's NWC client against our wallet service.
import { given, load, run, assert, sleep, within } from '../../peers/harness.mjs'
import { createHash, randomBytes } from 'node:crypto'

const { NWCClient, Nip47WalletError } = await load('@getalby/sdk/dist/esm/nwc.js')
const client = uri => new NWCClient({ nostrWalletConnectUrl: uri })
const buyer = client(given.buyer), seller = client(given.seller), reader = client(given.reader), owner = client(given.owner)
const code = async promise => { try { await promise } catch (e) { assert(e instanceof Nip47WalletError, String(e)); return e.code } assert.fail('no error') }
const heard = []
const stop = await seller.subscribeNotifications(n => heard.push(n))
const told = async (type, hash) => { for (let i = 0; i < 100; i++) {
  const n = heard.find(n => n.notification_type === type && n.notification.payment_hash === hash)
  if (n) return n.notification
  await sleep(50) } assert.fail('never told: ' + type) }

await run({
  async 'reads what is offered'() {
    const info = await buyer.getWalletServiceInfo()
    assert.deepEqual(info.encryptions, ['nip44_v2', 'nip04'])
    assert(info.capabilities.includes('pay_invoice') && info.capabilities.includes('make_hold_invoice'))
    assert(info.notifications.includes('hold_invoice_accepted'))
    const told = await buyer.getInfo()
    assert.equal(told.network, 'regtest')
    assert.equal(buyer.encryptionType, 'nip44_v2')
  },
  async 'is paid and pays'() {
    const before = (await buyer.getBalance()).balance
    const made = await seller.makeInvoice({ amount: 21000, description: 'a song', metadata: { comment: 'hi' } })
    assert.equal(made.type, 'incoming'); assert.equal(made.state, 'pending')
    const paid = await buyer.payInvoice({ invoice: made.invoice })
    assert.equal(createHash('sha256').update(Buffer.from(paid.preimage, 'hex')).digest('hex'), made.payment_hash)
    assert.equal(paid.fees_paid, 0)
    assert.equal((await buyer.getBalance()).balance, before - 21000)
    const mine = await seller.lookupInvoice({ payment_hash: made.payment_hash })
    assert.equal(mine.state, 'settled'); assert(mine.settled_at); assert.equal(mine.metadata.comment, 'hi')
    const theirs = await buyer.lookupInvoice({ invoice: made.invoice })
    assert.equal(theirs.type, 'outgoing'); assert.equal(theirs.state, 'settled')
    const list = (await buyer.listTransactions({ limit: 10 })).transactions
    assert.equal(list[0].payment_hash, made.payment_hash)
    assert.equal((await told('payment_received', made.payment_hash)).amount, 21000)
  },
  async 'pays one invoice once, however often it asks'() {
    const before = (await buyer.getBalance()).balance
    const { invoice } = await seller.makeInvoice({ amount: 3000 })
    const all = await Promise.all(Array.from({ length: 8 }, () => buyer.payInvoice({ invoice })))
    assert.equal(new Set(all.map(p => p.preimage)).size, 1)
    assert.equal((await buyer.getBalance()).balance, before - 3000)
  },
  async 'holds, settles, cancels'() {
    for (const settle of [true, false]) {
      const preimage = randomBytes(32).toString('hex')
      const payment_hash = createHash('sha256').update(Buffer.from(preimage, 'hex')).digest('hex')
      const made = await seller.makeHoldInvoice({ amount: 5000, payment_hash, description: 'held' })
      const paying = buyer.payInvoice({ invoice: made.invoice }).then(p => p.preimage, e => e.code)
      const accepted = await told('hold_invoice_accepted', payment_hash)
      assert(Number.isInteger(accepted.settle_deadline)); assert.equal(accepted.state, 'accepted')
      if (settle) await seller.settleHoldInvoice({ preimage })
      else await seller.cancelHoldInvoice({ payment_hash })
      assert.equal(await paying, settle ? preimage : 'PAYMENT_FAILED')
    }
  },
  async 'gets the right errors'() {
    assert.equal(await code(reader.payInvoice({ invoice: 'lnbcrt1x' })), 'RESTRICTED')
    assert.equal(await code(buyer.payInvoice({ invoice: 'lnbcrt1x' })), 'OTHER')
    assert.equal(await code(buyer.lookupInvoice({ payment_hash: '00'.repeat(32) })), 'NOT_FOUND')
    assert.equal(await code(buyer.payKeysend({ amount: 5, pubkey: '02' + '11'.repeat(32) })), 'NOT_IMPLEMENTED')
    const rich = await seller.makeInvoice({ amount: 10 ** 12 })
    assert.equal(await code(buyer.payInvoice({ invoice: rich.invoice })), 'INSUFFICIENT_BALANCE')
  },
  async 'makes a connection with a budget and is held to it'() {
    const { generateSecretKey, getPublicKey } = await load('nostr-tools/lib/esm/pure.js')
    const secret = generateSecretKey()
    const made = await owner.createConnection({ pubkey: getPublicKey(secret), name: 'from alby', max_amount: 4000,
      request_methods: ['pay_invoice', 'get_balance', 'get_budget'], budget_renewal: 'monthly' })
    const app = new NWCClient({ relayUrls: [given.url], walletPubkey: made.wallet_pubkey, secret: Buffer.from(secret).toString('hex') })
    const pay = async amount => app.payInvoice({ invoice: (await seller.makeInvoice({ amount })).invoice })
    await pay(3000)
    assert.equal(await code(pay(1001)), 'QUOTA_EXCEEDED')
    const budget = await app.getBudget()
    assert.equal(budget.used_budget, 3000); assert.equal(budget.total_budget, 4000); assert.equal(budget.renewal_period, 'monthly')
    assert(budget.renews_at > Date.now() / 1000)
    assert.equal(await code(app.makeInvoice({ amount: 5 })), 'RESTRICTED')
  },
})
