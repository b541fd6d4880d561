# Monthly partitions of the raw records, as README makes them: everything works as in
# one table, idempotency keys included, and a month can be dropped when it is final.
#
# The statements are those of README, which so cannot be wrong, with what it says of
# version 4.

use strict;
use warnings;
use FindBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my ($recipe) = $readme =~ /^### Partitions of raw usage\n.*?^```sql\n(.*?)^```$/ms or die 'README has no partitions';

my $node = PostgreSQL::Test::Cluster->new('partitions');
$node->init;
$node->append_conf('postgresql.conf', q{
log_statement = none
fsync = off
});
$node->start;

my $version = sql(q{SELECT default_version FROM pg_available_extensions WHERE name = 'pg_partman'});

if ($version eq '')
{
	plan skip_all => 'pg_partman is not installed';
}
note "pg_partman $version";
$recipe =~ s/(p_interval := '1 month')/$1, p_type := 'native'/ if $version =~ /^4/;

$node->safe_psql('postgres', q{
	CREATE EXTENSION svc;
	SELECT svc_install();
	ALTER TABLE svc_customer ALTER COLUMN created_at SET DEFAULT '2020-01-01Z';
	INSERT INTO svc_customer (id, name, status) VALUES ('c1', 'c', 'active'), ('c2', 'c', 'active');
	SELECT svc_set_meter('peak', 'max');
	-- there are records already
	SELECT svc_record_usage(c, r, n, date_trunc('month', now()) - n * interval '10 days', 'before ' || r || n)
	FROM unnest('{c1,c2}'::text[]) c, unnest('{api_calls,peak}'::text[]) r, generate_series(1, 6) n;
	SELECT svc_aggregate_usage();
});
$node->safe_psql('postgres', $recipe);
is(sql(q{SELECT relkind FROM pg_class WHERE oid = 'svc_usage'::regclass}), 'p', 'svc_usage is partitioned');
cmp_ok(sql(q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'svc_usage'::regclass}), '>=', 4, 'and has partitions');
is(sql(q{SELECT string_agg(DISTINCT pg_get_userbyid(c.relowner), ',') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE inhparent = 'svc_usage'::regclass}),
	'svc_owner', 'which belong to the owner of the tables');
is(sql('SELECT count(*), count(DISTINCT tableoid) > 1 FROM svc_usage'), '24|t', 'the records that were there are in them');
is(sql('SELECT * FROM svc_verify()'), '', 'and are those that are rolled up');
like(sql('SELECT svc_install()'), qr/nothing to do/, 'nothing is left to install');
is(sql('SELECT svc_make_tables(true)'), 't', 'and doing so all the same does no harm');

# ---- keys, which no index watches over any more ----

is(sql(q{
	SELECT svc_record_usage('c1', 'api_calls', 5, now() - interval '40 days', 'k') = svc_record_usage('c1', 'api_calls', 5, now(), 'k')}),
	't', 'the same key in another month is a repetition');
like(refusal(q{INSERT INTO svc_usage (customer_id, resource, quantity, idempotency_key) VALUES ('c1', 'api_calls', 5, 'k')}),
	qr/23505.*there is a usage record with this idempotency key/s, 'by INSERT it is refused');
like(refusal(q{INSERT INTO svc_usage (customer_id, resource, quantity, idempotency_key, occurred_at)
			   SELECT 'c1', 'api_calls', 5, 'twice', now() - i * interval '31 days' FROM generate_series(0, 1) i}),
	qr/23505/, 'twice in one statement, too');
like(refusal(q{SELECT svc_record_usage('c1', 'api_calls', 6, now(), 'k')}), qr/SV004/, 'for another record it is a mistake');
is(sql(q{SELECT outcome FROM svc_record_usage_batch('[{"customer_id": "c1", "resource": "api_calls", "idempotency_key": "b"},
	{"customer_id": "c1", "resource": "api_calls", "idempotency_key": "b"}, {"customer_id": "c2", "resource": "api_calls", "idempotency_key": "b"}]')}),
	"recorded\nrepeated\nrecorded", 'a key belongs to a customer');

# eight at once, with the same keys: each once
my @clients = map {
	my $offset = $_;
	IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres') ], '<',
		\join('', map { "SELECT svc_record_usage('c2', 'api_calls', 1, now() - interval '$offset days', 'race $_');\n" } 1 .. 50),
		'>', \my $out, '2>', \my $err)
} 0, 20, 40, 60, 80, 1, 21, 41;
$_->finish for @clients;
is(sql(q{SELECT count(*), count(DISTINCT idempotency_key) FROM svc_usage WHERE idempotency_key LIKE 'race %'}), '50|50', 'who races with the same key records it once');

# a load with many keys does not take up all locks of the server
is(sql(q{BEGIN;
	INSERT INTO svc_usage (customer_id, resource, quantity, idempotency_key) SELECT 'c2', 'load', 1, 'load ' || n FROM generate_series(1, 2000) n;
	SELECT count(*) < 1100 FROM pg_locks WHERE locktype = 'advisory'; COMMIT}), 't', 'a load with many keys locks them all at once');
like(refusal(q{INSERT INTO svc_usage (customer_id, resource, quantity, idempotency_key) SELECT 'c2', 'load', 1, 'again ' || least(n, 1500) FROM generate_series(1, 1501) n}),
	qr/23505/, 'and lets none in twice');

# what consumes, does so in partitions: once, and not if it is discarded
is(sql(q{SELECT svc_set_meter('renders', entitlement_code => 'credits'), svc_grant_entitlement('c1', 'credits', 10, id => 'g');
	INSERT INTO svc_usage (customer_id, id, resource, quantity, occurred_at) SELECT 'c1', 'x', 'renders', 4, date_trunc('month', now()) FROM generate_series(1, 2) ON CONFLICT DO NOTHING;
	SELECT svc_record_usage('c1', 'renders', 1, idempotency_key => 'x') = svc_record_usage('c1', 'renders', 1, idempotency_key => 'x'), used_amount FROM svc_entitlement WHERE id = 'g';
	SELECT used_amount FROM svc_entitlement WHERE id = 'g'}) =~ s/^.*\n//sr, '5', 'a record in a partition consumes once');

# who inserts straight into a partition is waited for by who changes a meter, too
is(sql(q{SELECT format('BEGIN; INSERT INTO %s (customer_id, resource, quantity) VALUES (''c1'', ''straight'', 1);
	SELECT count(*) FROM pg_locks WHERE relation = ''svc_usage''::regclass AND mode = ''RowExclusiveLock'' AND pid = pg_backend_pid(); COMMIT', tableoid::regclass)
	FROM svc_usage WHERE idempotency_key = 'x' \gexec}), 1, 'a record straight into a partition locks svc_usage');

# ---- the rest works as in one table ----

cmp_ok(sql('SELECT svc_aggregate_usage()'), '>', 0, 'it is rolled up');
is(sql('SELECT * FROM svc_verify()'), '', 'as its records make it');
is(sql(q{SELECT svc_adjust_usage(customer_id, id, -2) FROM svc_usage WHERE idempotency_key = 'k'}), 'recorded', 'a record can be corrected');
like(refusal(q{UPDATE svc_usage SET quantity = 7}), qr/SV006/, 'and not be changed');
like(refusal(q{DELETE FROM svc_usage}), qr/SV007/, 'nor deleted');
is(sql(q{SELECT svc_finalize_usage('c1', 'month', now() - interval '2 months') < now()}), 't', 'it is closed');
cmp_ok(sql(q{SELECT sum(done) FROM svc_run_due() WHERE task = 'mark usage aggregated'}), '>', 0, 'and marked');
is(sql(q{SELECT svc_merge_customer('c2', 'c1')}), 'merged', 'customers can be merged');
sql('SELECT svc_aggregate_usage()');
is(sql('SELECT * FROM svc_verify()'), '', 'after all this, figures are what their records make');

# ---- a month that is final goes with its partition ----

my $before = sql(q{SELECT svc_finalize_usage('c1', 'month', now() - interval '1 month'); SELECT quantity FROM svc_get_usage('c1', 'api_calls')});
my $purged = sql(q{SELECT svc_purge_usage(date_trunc('month', now()))});
cmp_ok($purged, '>', 0, 'raw records of what is final can be purged');
is(sql(q{SELECT quantity FROM svc_get_usage('c1', 'api_calls')}), (split /\n/, $before)[-1], 'which leaves the sum since ever');
my $oldest = sql(q{SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'svc_usage'::regclass AND inhrelid::regclass::text !~ 'default' ORDER BY inhrelid::regclass::text LIMIT 1});
sql("DROP TABLE $oldest");
is(sql('SELECT * FROM svc_verify()'), '', 'and the empty partition can be dropped');
is(sql(q{SELECT quantity FROM svc_get_usage('c1', 'api_calls')}), (split /\n/, $before)[-1], 'nothing is missing');

$node->stop;
done_testing();

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

sub refusal
{
	my (undef, undef, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$_[0];");
	return $err;
}
