# An SMSC on loopback: smsc.pl PORT FILE. Lets `holdfast` in with `secret08`, knows no number that ends with 99, and
# appends what it takes to FILE, a line of JSON each.
use strict;
use warnings;
use JSON::PP;
use Net::SMPP;

my ($port, $file) = @ARGV;
my $json = JSON::PP->new->canonical;
my $smsc = Net::SMPP->new_listen('127.0.0.1', port => $port, smpp_version => 0x34) or die "no port $port: $!";
open(my $taken, '>>', $file) or die "$file: $!";
$taken->autoflush(1);

while (1) {
    my $session = $smsc->accept or next;
    my $bound = 0;
    while (my $pdu = $session->read_pdu) {
        my $seq = $pdu->{seq};
        if ($pdu->{cmd} == Net::SMPP::CMD_bind_transmitter) {
            $bound = $pdu->{system_id} eq 'holdfast' && $pdu->{password} eq 'secret08';
            my $status = $bound ? 0 : Net::SMPP::ESME_RINVPASWD;
            $session->bind_transmitter_resp(system_id => 'SMSC', seq => $seq, status => $status);
        } elsif ($pdu->{cmd} == Net::SMPP::CMD_submit_sm && $bound) {
            my $known = $pdu->{destination_addr} !~ /99$/;
            my %kept = map { $_ => "$pdu->{$_}" } qw(source_addr destination_addr);
            $kept{$_} = $pdu->{$_} + 0
                for qw(source_addr_ton source_addr_npi dest_addr_ton dest_addr_npi esm_class data_coding);
            $kept{octets} = unpack('H*', $pdu->{short_message});
            print $taken $json->encode(\%kept), "\n" if $known;
            my $status = $known ? 0 : Net::SMPP::ESME_RINVDSTADR;
            $session->submit_sm_resp(message_id => '1', seq => $seq, status => $status);
        } elsif ($pdu->{cmd} == Net::SMPP::CMD_unbind) {
            $session->unbind_resp(seq => $seq);
            last;
        } else {
            $session->generic_nack(seq => $seq, status => Net::SMPP::ESME_RINVBNDSTS);
        }
    }
    close $session;
}
