"""Model providers behind one narrow interface (base.Provider)."""
