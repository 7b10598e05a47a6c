"""Torch-free deployment: op graph, placement rules, graphsurgeon, verification, backends."""
