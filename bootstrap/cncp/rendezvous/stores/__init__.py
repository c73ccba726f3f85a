"""The stores, one for each kind of place; `cncp.rendezvous.places` imports the one that is used."""
