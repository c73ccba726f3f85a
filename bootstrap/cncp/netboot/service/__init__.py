"""cidd and dnsmasq as services of a server: what they are told, what is looked at first, what keeps them."""
