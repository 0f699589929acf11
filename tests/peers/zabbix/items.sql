-- One host with one trapper item (type 2) of text (value_type 4), and one that only another address may write.
INSERT INTO hosts (hostid, host, name, status) VALUES (1, 'holdfast', 'holdfast', 0);
INSERT INTO items (itemid, type, hostid, name, key_, delay, value_type, status) VALUES
  (1, 2, 1, 'alert', 'holdfast.alert', '0', 4, 0);
INSERT INTO items (itemid, type, hostid, name, key_, delay, value_type, status, trapper_hosts) VALUES
  (2, 2, 1, 'others', 'others.alert', '0', 4, 0, '192.0.2.1');
INSERT INTO item_rtdata (itemid) VALUES (1), (2);
