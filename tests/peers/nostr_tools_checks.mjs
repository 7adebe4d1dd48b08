import { assert, given, load, now, run, sleep, within } from './harness.mjs'

const lib = name => load('nostr-tools/lib/esm/' + name + '.js')
const { generateSecretKey, getPublicKey, finalizeEvent, verifyEvent } = await lib('pure')
const { Relay } = await lib('relay')
const { SimplePool } = await lib('pool')
const nip04 = await lib('nip04'), nip11 = await lib('nip11'), nip17 = await lib('nip17'), nip19 = await lib('nip19')
const nip44 = await lib('nip44'), nip49 = await lib('nip49'), nip59 = await lib('nip59'), nip98 = await lib('nip98')
const nip13 = await lib('nip13'), nip77 = await lib('nip77'), nipb7 = await lib('nipb7')
const { PlainKeySigner } = await lib('signer').catch(() => ({}))

const hex = bytes => Buffer.from(bytes).toString('hex')
const raw = text => Uint8Array.from(Buffer.from(text, 'hex'))
const sk = generateSecretKey(), pk = getPublicKey(sk)
const other = generateSecretKey(), otherPk = getPublicKey(other)
const ours = given.pubkey // a key of the Python side
const relay = await Relay.connect(given.url)
const pool = new SimplePool()
const sign = (kind, content = '', tags = [], at = now()) => finalizeEvent({ kind, content, tags, created_at: at }, sk)
const fetch_ = filter => pool.querySync([given.url], filter)

await run({
  async 'publish and read back the same bytes'() {
    const content = 'tab\t newline\n quote" back\\slash \u0001 \u007f \u2028 😀 é'
    const event = sign(1, content, [['t', 'interop'], ['x', '\u001f']])
    await relay.publish(event)
    const [found] = await fetch_({ ids: [event.id] })
    assert.deepEqual(
      [found.id, found.content, found.tags, found.sig], [event.id, content, event.tags, event.sig])
    assert(verifyEvent(found))
  },
  async 'newest first, limit, tags, time'() {
    const base = now() - 100
    for (let i = 0; i < 5; i++) await relay.publish(sign(1111, String(i), [['t', 'order'], ['e', hex(sk)]], base + i))
    const found = await fetch_({ kinds: [1111], '#t': ['order'], limit: 3 })
    assert.deepEqual(found.map(e => e.content), ['4', '3', '2'])
    assert.equal((await fetch_({ '#e': [hex(sk)], since: base + 1, until: base + 2 })).length, 2)
    assert.equal((await fetch_({ authors: [pk], kinds: [9] })).length, 0)
  },
  async 'live events reach an open subscription'() {
    const heard = new Promise(resolve => {
      relay.subscribe([{ kinds: [20001], authors: [pk] }, { kinds: [7000], '#p': [pk] }], { onevent: resolve, oneose() {
        relay.publish(sign(20001, 'passing by'))
      } })
    })
    assert.equal((await within(heard, 5000, 'live')).content, 'passing by')
    assert.equal((await fetch_({ kinds: [20001] })).length, 0)
  },
  async 'replaceable, addressable, deletion'() {
    const t = now()
    await relay.publish(sign(0, '{"name":"new"}', [], t))
    await assert.rejects(relay.publish(sign(0, '{"name":"old"}', [], t - 10)))
    assert.deepEqual((await fetch_({ kinds: [0], authors: [pk] })).map(e => e.content), ['{"name":"new"}'])
    const list = sign(30000, 'x', [['d', 'a']], t)
    await relay.publish(list)
    await relay.publish(sign(5, '', [['a', `30000:${pk}:a`], ['e', list.id]], t))
    assert.equal((await fetch_({ kinds: [30000], authors: [pk] })).length, 0)
    await assert.rejects(relay.publish(list), /deleted|blocked/)
  },
  async 'a forged event is refused'() {
    const event = sign(1, 'true')
    await assert.rejects(relay.publish({ ...event, content: 'false' }), /invalid/)
    await assert.rejects(relay.publish({ ...event, sig: '0'.repeat(128) }), /invalid|duplicate/)
  },
  async 'count, and with HyperLogLog'() {
    for (let i = 0; i < 3; i++) await relay.publish(sign(7, '+' + i, [['e', '1'.repeat(64)]]))
    assert.equal(await relay.count([{ kinds: [7], '#e': ['1'.repeat(64)] }], {}), 3)
  },
  async 'search'() {
    await relay.publish(sign(1, 'a lighthouse made of circuit boards'))
    const found = await fetch_({ search: 'lighthouse language:en', kinds: [1] })
    assert.deepEqual(found.map(e => e.content), ['a lighthouse made of circuit boards'])
  },
  async 'information document'() {
    const about = await nip11.fetchRelayInformation(given.url)
    for (const nip of [1, 9, 11, 17, 40, 42, 45, 50, 77]) assert(about.supported_nips.includes(nip), 'NIP-' + nip)
    assert(about.limitation.max_message_length >= 65536)
  },
  async 'gift wraps only for their receiver, after AUTH'() {
    const wrap = nip17.wrapEvent(sk, { publicKey: otherPk }, 'psst')
    await relay.publish(wrap)
    const seen = await new Promise(resolve => {
      const got = []
      relay.subscribe([{ kinds: [1059], '#p': [otherPk] }], {
        onevent: e => got.push(e), oneose: () => resolve(got), onclose: reason => resolve(reason) })
    })
    assert(typeof seen === 'string' ? seen.startsWith('auth-required') : seen.length === 0, JSON.stringify(seen))
    const mine = await Relay.connect(given.url)
    await sleep(100)
    await mine.auth(async template => finalizeEvent(template, other))
    const found = await new Promise((resolve, reject) => {
      const got = []
      mine.subscribe([{ kinds: [1059], '#p': [otherPk] }], {
        onevent: e => got.push(e), oneose: () => resolve(got), onclose: reason => reject(new Error(reason)) })
    })
    assert.equal(nip17.unwrapEvent(found[0], other).content, 'psst')
    mine.close()
  },
  async 'pool signs in by itself'() {
    await relay.publish(nip17.wrapEvent(sk, { publicKey: otherPk }, 'again'))
    const found = []
    await new Promise((resolve, reject) => pool.subscribe([given.url], { kinds: [1059], '#p': [otherPk] }, {
      onevent: e => found.push(e), oneose: () => setTimeout(resolve, 300),
      onclose: reasons => reject(new Error(JSON.stringify(reasons))),
      onauth: async template => finalizeEvent(template, other) }))
    assert(found.length >= 1)
  },
  async 'negentropy: what we lack and what it lacks'() {
    const t = now() - 500, events = []
    for (let i = 0; i < 300; i++) {
      const event = sign(1234, 'n' + i, [], t + (i % 50))
      events.push(event)
      await relay.publish(event)
    }
    const storage = new nip77.NegentropyStorageVector(), have = [], need = []
    for (const event of events.slice(0, 290)) storage.insert(event.created_at, event.id)
    const extra = sign(1234, 'only here', [], t)
    storage.insert(extra.created_at, extra.id)
    storage.seal()
    await new Promise((resolve, reject) => {
      const sync = new nip77.NegentropySync(relay, storage, { kinds: [1234] }, {
        onhave: id => have.push(id), onneed: id => need.push(id),
        onclose: reason => (reason ? reject(new Error(reason)) : resolve()) })
      sync.start()
    })
    assert.deepEqual(have, [extra.id])
    assert.deepEqual(need.sort(), events.slice(290).map(e => e.id).sort())
  },
  async 'texts in both encryptions, both directions'() {
    const key = nip44.getConversationKey(sk, ours)
    assert.equal(nip44.decrypt(given.nip44, nip44.getConversationKey(raw(given.peer_secret), ours)), given.text)
    assert.equal(nip04.decrypt(given.peer_secret, ours, given.nip04), given.text)
    return { pubkey: pk, nip44: nip44.encrypt(given.text, key), nip04: nip04.encrypt(sk, ours, given.text) }
  },
  async 'gift wrap made in Python'() {
    const rumor = nip59.unwrapEvent(given.wrap, raw(given.peer_secret))
    assert.deepEqual([rumor.kind, rumor.content, rumor.pubkey], [14, given.text, ours])
    return nip17.wrapEvent(sk, { publicKey: ours }, given.text)
  },
  async 'names, encrypted keys, proof of work'() {
    assert.deepEqual(nip19.decode(given.nprofile).data, { pubkey: ours, relays: [given.url] })
    assert.equal(hex(nip49.decrypt(given.ncryptsec, 'pass')), given.peer_secret)
    assert.equal(nip13.getPow(given.mined.id) >= 8 && verifyEvent(given.mined), true)
    return { nevent: nip19.neventEncode({ id: '2'.repeat(64), relays: [given.url], author: pk, kind: 1 }),
      ncryptsec: nip49.encrypt(sk, 'word', 12), secret: hex(sk) }
  },
  async 'HTTP tokens'() {
    return nip98.getToken(given.http + '/x', 'POST', template => finalizeEvent(template, sk), true, { a: 1 })
  },
  async 'files: upload, list, fetch, delete'() {
    const signer = { getPublicKey: async () => pk, signEvent: async template => finalizeEvent(template, sk) }
    const client = new nipb7.BlossomClient(given.http, signer)
    const blob = new Blob([Uint8Array.from({ length: 5000 }, (_, i) => i % 251)], { type: 'application/x-thing' })
    const stored = await client.uploadBlob(blob)
    assert.equal(stored.size, 5000)
    assert.deepEqual((await client.list()).map(b => b.sha256), [stored.sha256])
    const back = new Uint8Array(await client.download(stored.sha256))
    assert.deepEqual(back, new Uint8Array(await blob.arrayBuffer()))
    await client.delete(stored.sha256)
    await assert.rejects(client.download(stored.sha256))
  },
  async 'the way feeds are asked for'() {
    // discovery as the mass clients do it: announcements by kind, liveness, a request to the inbox, its answer
    const t = now()
    await relay.publish(sign(31990, '{"name":"Feed"}', [['d', 'f'], ['k', '5300']], t))
    await relay.publish(sign(11998, '', [['d', 'f'], ['status', 'ready'], ['expiration', String(t + 300)]], t))
    assert.equal((await fetch_({ kinds: [31990], '#k': ['5300'], limit: 30 })).length, 1)
    assert.equal((await fetch_({ kinds: [11998], authors: [pk], since: t - 900 })).length, 1)
    const request = finalizeEvent({ kind: 5300, content: '', created_at: t,
      tags: [['p', pk], ['relays', given.url], ['param', 'max_results', '200'], ['param', 'user', otherPk]] }, other)
    const answers = []
    const done = new Promise(resolve => relay.subscribe(
      [{ kinds: [6300], authors: [pk], '#e': [request.id], limit: 1 }, { kinds: [7000], authors: [pk], '#e': [request.id] }],
      { onevent: e => (answers.push(e.kind), answers.length === 2 && resolve()) }))
    await relay.publish(request)
    await relay.publish(sign(7000, '', [['e', request.id], ['p', otherPk], ['status', 'processing', 'on it']]))
    await relay.publish(sign(6300, '[["e","' + '3'.repeat(64) + '"]]', [['e', request.id], ['p', otherPk]]))
    await within(done, 5000, 'answers')
  },
})
