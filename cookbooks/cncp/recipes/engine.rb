# Engines of a cluster whose controller is elsewhere.
cncp_packages 'cncp' if node['cncp']['packages']
cncp_virtualenv 'cncp'
cncp_profile 'cncp'
cncp_tunnels 'cncp'
cncp_engines 'cncp'
