// nostr-tools as a customer of workers: free and paid (through NWC), plain and in both encryptions, sealed files opened.
import { webcrypto } from 'node:crypto'
import { assert, given, load, now, run, shop } from './harness.mjs'

const { SimplePool, finalizeEvent, generateSecretKey, getPublicKey, nip04, nip44, verifyEvent } = await load('nostr-tools/lib/esm/index.js')
const { makeNwcRequestEvent, parseConnectionString } = await load('nostr-tools/lib/esm/nip47.js')

const pool = new SimplePool()
const relays = [given.url]
const sk = generateSecretKey(), pk = getPublicKey(sk)
const seal = { nip44: (to, text) => nip44.encrypt(text, nip44.getConversationKey(sk, to)), nip04: (to, text) => nip04.encrypt(sk, to, text) }
const open = { nip44: (by, text) => nip44.decrypt(text, nip44.getConversationKey(sk, by)), nip04: (by, text) => nip04.decrypt(sk, by, text) }

async function pay(invoice) {
  const { pubkey, secret } = parseConnectionString(given.wallet)
  await Promise.any(pool.publish(relays, await makeNwcRequestEvent(pubkey, Uint8Array.from(Buffer.from(secret, 'hex')), invoice)))
}

async function buy({ worker, kind, inputs, scheme, sealed }) {
  const wanted = [...inputs, ...(sealed ? [['param', 'encryption-algorithm', 'aes-gcm']] : [])]
  const request = finalizeEvent({
    kind, created_at: now(),
    tags: scheme ? [['p', worker], ['encrypted']] : [...wanted, ['p', worker]],
    content: scheme ? await seal[scheme](worker, JSON.stringify(wanted)) : '',
  }, sk)
  const said = []
  const result = new Promise((resolve, reject) => pool.subscribe(relays, { kinds: [kind + 1000, 7000], '#e': [request.id] }, {
    async onevent(event) {
      try {
        assert.ok(verifyEvent(event))
        assert.equal(event.pubkey, worker)
        assert.deepEqual(event.tags.find(t => t[0] === 'p'), ['p', pk])
        assert.equal(event.tags.some(t => t[0] === 'encrypted'), Boolean(scheme))
        if (event.kind !== 7000) {
          const hidden = event.tags.find(t => t[0] === 'private')
          const tags = !scheme ? event.tags : hidden ? JSON.parse(await open[scheme](worker, hidden[1])) : []
          return resolve({ content: scheme ? await open[scheme](worker, event.content) : event.content, tags, shown: event.tags.map(t => t[0]) })
        }
        const tags = scheme ? JSON.parse(await open[scheme](worker, event.content)) : event.tags
        const [, status, words] = tags.find(t => t[0] === 'status')
        assert.ok(words)
        said.push(status)
        if (status === 'payment-required') await pay(tags.find(t => t[0] === 'amount')[2])
        if (status === 'error') reject(new Error(words))
      } catch (error) { reject(error) }
    },
  }))
  await Promise.any(pool.publish(relays, request))
  const made = await result
  made.bills = said.filter(s => s === 'payment-required').length
  return sealed ? { ...made, opened: await opened(made) } : made
}

/** The start of a sealed file, opened as a browser does it. */
async function opened({ content, tags }) {
  const fields = Object.fromEntries(tags.find(t => t[0] === 'imeta').slice(1).map(pair => [pair.split(' ')[0], pair.slice(pair.indexOf(' ') + 1)]))
  assert.equal(fields.url, content)
  assert.equal(fields['encryption-algorithm'], 'aes-gcm')
  const bytes = Buffer.from(await (await fetch(content)).arrayBuffer())
  const key = await webcrypto.subtle.importKey('raw', Buffer.from(fields['decryption-key'], 'hex'), 'AES-GCM', false, ['decrypt'])
  const plain = await webcrypto.subtle.decrypt({ name: 'AES-GCM', iv: Buffer.from(fields['decryption-nonce'], 'hex') }, key, bytes)
  assert.equal(Buffer.from(await webcrypto.subtle.digest('SHA-256', plain)).toString('hex'), fields.ox)
  return Buffer.from(plain).subarray(0, 64).toString('base64')
}

if (given.orders) await shop(buy)
const checks = {}
for (const [price, worker] of [['free', given.free], ['paid', given.paid]])
  for (const scheme of [null, 'nip44', 'nip04'])
    checks[`${price} ${scheme ?? 'plain'}`] = async () => {
      const { content, bills } = await buy({ worker, kind: 5050, inputs: [['i', 'hello', 'text'], ['param', 'marks', '2']], scheme })
      assert.deepEqual([content, bills], ['hello!!', price === 'paid' ? 1 : 0])
    }
await run(checks)
