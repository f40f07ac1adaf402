# The executable that the runtime calls, where there is a Perl (on Debian always): the same as client.py, line by line, in a
# quarter of its time, since Perl starts in 2 ms and the start is most of what a call costs. No module is loaded.
use strict;
my ($SOCKET, $SPOOL) = ('@SOCKET@', '@SPOOL@');
my $AWAY = '{"cniVersion":"1.0.0","code":11,"msg":"the network server of this node is not running: try again"}' . "\n";

sub write_all {
    my ($out, $data) = @_;
    my $at = 0;
    while ($at < length $data) {
        my $n = syswrite $out, $data, length($data) - $at, $at;
        return 0 unless defined $n;
        $at += $n;
    }
    return 1;
}

sub read_all {
    my ($in, $data) = (shift, '');
    while (1) {
        my $n = sysread $in, $data, 65536, length $data;
        return undef unless defined $n;
        return $data unless $n;
    }
}

# AF_UNIX, SOCK_STREAM; SOL_SOCKET with SO_RCVTIMEO and SO_SNDTIMEO.
sub ask {
    my $request = shift;
    socket(my $server, 1, 1, 0) or return '';
    setsockopt $server, 1, $_, pack('l!l!', 110, 0) for 20, 21;
    connect($server, pack('S a*x', 1, $SOCKET)) or return '';
    write_all($server, $request) or return '';
    shutdown $server, 1;
    return read_all($server) // '';
}

sub spool {
    my $request = shift;
    my $name = join '.', map { my $part = $ENV{$_} // ''; $part =~ tr{/}{_}; $part } 'CNI_CONTAINERID', 'CNI_IFNAME';
    require IO::Handle;
    umask 077;
    open(my $file, '>', "$SPOOL/.$name") or return 0;
    write_all($file, $request) && $file->sync && close($file) && rename("$SPOOL/.$name", "$SPOOL/$name") or return 0;
    open(my $directory, '<', $SPOOL) or return 0;
    return IO::Handle::sync($directory) ? 1 : 0;
}

$SIG{PIPE} = 'IGNORE';
my $request = join("\0", map { "$_=$ENV{$_}" } grep { /^CNI_/ } keys %ENV) . "\0\0" . (read_all(\*STDIN) // '');
my $answer = ask($request);
if (length $answer) {
    write_all(\*STDOUT, substr $answer, 1);
    exit(ord($answer) - 48);
}
exit 0 if ($ENV{CNI_COMMAND} // '') eq 'DEL' && spool($request);
write_all(\*STDOUT, $AWAY);
exit 1;
