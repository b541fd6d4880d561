# All processes of a test server killed at once, as when the machine is switched
# off: PostgreSQL::Test::Cluster's kill9 leaves backends alive, which go on with
# what they are at.

package KillAll;

use strict;
use warnings;
use Exporter qw(import);
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep);

our @EXPORT = qw(kill_all);

# Kill the server of a node; returns how many processes it had.
#
# Halted, the postmaster starts no process that would be missed.  As long as
# nobody has collected what is left of it, its number is taken, and the next one
# would believe that it is alive.
sub kill_all
{
	my ($node) = @_;
	my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	my @children;

	kill 'STOP', $postmaster;
	@children = processes_of($postmaster);
	$node->kill9;
	kill 'KILL', @children;
	for my $pid ($postmaster, @children)
	{
		usleep(1_000) while (state_of($pid))[0] !~ /^(gone|Z)$/;
	}
	unlink $node->data_dir . '/postmaster.pid', $node->host . '/.s.PGSQL.' . $node->port . '.lock'
	  if kill 0, $postmaster;
	return scalar @children;
}

# The numbers of all processes of the server that are alive.
sub processes_of
{
	my ($postmaster) = @_;

	return grep { (state_of($_))[1] == $postmaster } map { m{(\d+)/stat$} ? $1 : () } glob '/proc/[0-9]*/stat';
}

# State and parent of a process; of one that is gone, "gone" and 0.
sub state_of
{
	my ($pid) = @_;

	open my $stat, '<', "/proc/$pid/stat" or return ('gone', 0);
	my $line = <$stat>;
	close $stat;
	return defined $line && $line =~ /\) (\S) (\d+) / ? ($1, $2) : ('gone', 0);
}

1;
