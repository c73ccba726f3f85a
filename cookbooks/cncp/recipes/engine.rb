# Engines of a cluster whose controller is elsewhere.
CncpCookbook.check(node['cncp'])

cncp_packages 'cncp' if CncpCookbook.on?(node['cncp']['packages'])
cncp_virtualenv 'cncp'
cncp_profile 'cncp'
cncp_tunnels 'cncp'
cncp_engines 'cncp'
cncp_rendezvous 'cncp'
