// What mingo and sift, the MongoDB matchers of JavaScript, take for the criteria of
// criteria.sql, for orientation: documents come in as lines, are parsed beforehand
// and stay in memory, so only the matching counts. Medians of the rounds.
//
//   node criteria_peers.cjs --available     says true or false
//   node criteria_peers.cjs ROUNDS < lines  prints nanoseconds per document
'use strict';

function load() {
    try {
        const { Query } = require('mingo');
        const sift = require('sift');
        return {
            mingo: (criteria) => { const query = new Query(criteria); return (doc) => query.test(doc); },
            sift: (criteria) => (sift.default ?? sift)(criteria),
        };
    } catch {
        return null;
    }
}

const peers = load();
if (process.argv[2] === '--available') {
    console.log(peers !== null);
    process.exit();
}

const three = { status: 'active', country: 'DE', monthly_spend: { $gte: 100 } };
const five = { ...three, 'attributes.tags': 'beta', 'usage.api_calls.last_30d': { $lt: 90000 } };
const documents = require('fs').readFileSync(0, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
const rounds = Number(process.argv[2]);

for (const [leaves, criteria] of [[3, three], [5, five]]) {
    const medians = Object.entries(peers).map(([name, compile]) => {
        const times = [];
        for (let round = 0; round < rounds; round++) {
            const matches = compile(criteria);
            const start = process.hrtime.bigint();
            const found = documents.filter(matches).length;
            times.push(Number(process.hrtime.bigint() - start) / documents.length);
            if (found !== documents.length) throw new Error(`${name} finds ${found}`);
        }
        return `${name} ${Math.round(times.sort((a, b) => a - b)[rounds >> 1])}`;
    });
    console.log(`for orientation, ${leaves} leaves on parsed documents in memory: ${medians.join(', ')}`);
}
