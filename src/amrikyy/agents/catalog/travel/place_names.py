"""What people call places that the airport table names differently, and which namesake they mean.

The table (`airportsdata`) gives an airport's municipality: Toronto's is in Mississauga, and Osaka's visitors may be
going to Kyoto. It has no passenger numbers either, so that Paris, Texas, looks as large as Paris.
"""

BUSIEST = """
ATL DXB DFW LHR HND DEN IST ORD LAX CAN PVG AMS CDG JFK MAD FRA SIN PEK ICN LAS MCO BKK HKG DEL MIA CLT SEA PHX EWR SFO
BCN IAH BOM FCO LGW MUC KUL CGK SYD MEX YYZ SZX CTU MNL SAW DOH BOS MSP FLL LIS MAN DUB ORY VIE ZRH CPH OSL ARN HEL ATH
PMI AYT WAW BRU MXP DUS BER HAM GVA NCE LYS MRS TLS STN LGA DTW PHL SLC SAN BWI IAD DCA TPA BNA AUS MDW HNL PDX DAL STL
HOU SMF MSY RDU OAK SJC SNA MCI CLE IND PIT CMH CVG SAT MKE JAX RSW OGG BUF ABQ ANC OMA RIC SDF PBI ELP TUS BOI GEG CHS
SAV ALB ROC PWM JAN BHX BHM YVR YUL YYC YEG YOW YWG YHZ YQB YYJ CUN GDL MTY TIJ PVR SJD MID BJX GRU GIG BSB CNF VCP CGH
SDU SSA REC POA CWB FOR FLN MAO BEL BOG MDE CTG CLO LIM CUZ SCL EZE AEP COR MDZ BRC IGR USH UIO GYE LPB VVI MVD ASU CCS
PTY SJO SAL GUA TGU MGA BZE HAV SDQ PUJ SJU KIN MBJ NAS BGI POS AUA CUR BDA GEO GCM SXM UVF NRT KIX ITM NGO FUK CTS OKA
HIJ GMP PUS CJU TPE KHH MFM SHA PKX XIY KMG HGH NKG WUH CKG XMN TAO DLC TSN CSX SYX HRB URC LXA BLR MAA CCU HYD COK GOI
AMD PNQ JAI VNS AGR LKO TRV IXC KTM CMB DAC MLE KHI LHE ISB DMK HKT CNX USM KBV SGN HAN DAD SAI RGN MDL VTE LPQ PEN LGK
BKI DPS SUB YIA JOG CEB CRK BWN MEL BNE PER ADL OOL CNS HBA DRW CBR AKL WLG CHC ZQN NAN SUV PPT BOB NOU GUM SPN POM APW
AUH SHJ RUH JED DMM MED KWI BAH MCT AMM BEY TLV BGW BSR EBL IKA THR MHD SYZ IFN DAM CAI HRG SSH LXR ASW HBE CMN RAK AGA
FEZ TNG RBA TUN DJE ALG ORN TIP LOS ABV ACC KGL NBO MBA EBB DAR JRO ZNZ ADD JNB CPT DUR WDH VFA HRE LUN LVI MRU SEZ RUN
TNR DSS DKR ABJ LAD KRT LTN LCY EDI GLA BRS NCL LPL BFS BHD EMA ORK SNN KEF RKV BGO TRD SVG TOS GOT AAL BLL TLL RIX VNO
KRK GDN WRO KTW POZ PRG BUD BTS LJU ZAG SPU DBV BEG SJJ TIA SKP PRN TGD SOF VAR OTP CLJ KBP IEV LWO SVO DME VKO LED KZN
AER SVX OVB VVO GYD TBS EVN TAS SKD ALA NQZ DYU ASB UBN SKG HER CHQ RHO CFU JTR JMK KGS ZTH LCA PFO ESB ADB BJV DLM NAV
TZX VCE NAP BLQ PSA FLR TRN VRN BRI CTA PMO CAG OLB AHO GOA BGY LIN CIA VLC SVQ AGP ALC BIO IBZ MAH TFS TFN LPA ACE FUE
GRX SCQ OPO FAO FNC PDL TER MLA LUX BSL SZG INN STR CGN HAJ NUE LEJ DRS BRE CRL ANR EIN RTM BOD NTE MPL AJA BIA SXB GIB
"""
"""Airports with much scheduled traffic, roughly busiest first: of several namesakes the earliest is meant."""

CITY_OF_AIRPORT = """
AGR Agra | ALA Almaty | AYT Antalya | BBU Bucharest | BEG Belgrade | BOB Bora Bora | BOD Bordeaux | BRC Bariloche
BSL Basel | CEB Cebu | CFU Corfu | CHQ Chania | CIA Rome | CJU Jeju | COK Kochi | CTS Sapporo | CUR Curaçao
CVG Cincinnati | DAM Damascus | DFW Dallas | DMM Dammam | DPS Bali | DSS Dakar | EBB Entebbe | EBL Erbil
EZE Buenos Aires | FEZ Fez | FLR Florence | FRA Frankfurt | FUE Fuerteventura | GCM Grand Cayman | GOA Genoa | GOI Goa
GUM Guam | HER Heraklion | IGR Puerto Iguazú | IST Istanbul | JMK Mykonos | JOG Yogyakarta | JTR Santorini | KGS Kos
KHH Kaohsiung | LPB La Paz | LPA Gran Canaria | LPQ Luang Prabang | MAH Menorca | MDE Medellín | MFM Macau | MLA Malta
MLE Malé | MPL Montpellier | NAP Naples | NGO Nagoya | OGG Maui | OKA Okinawa | PBI West Palm Beach | PMI Palma
POM Port Moresby | PRN Pristina | PTY Panama City | RDU Raleigh | RHO Rhodes | SAL San Salvador | SEZ Mahé
SJD Los Cabos | SPN Saipan | SUV Suva | SVQ Seville | TFN Tenerife | TFS Tenerife | TLS Toulouse | TPE Taipei
TRN Turin | USH Ushuaia | USM Koh Samui | VCE Venice | XIY Xi'an | YIA Yogyakarta | YUL Montreal | YVR Vancouver
YYZ Toronto | ZNZ Zanzibar | ZTH Zakynthos | ACE Lanzarote | KBV Krabi | BKI Kota Kinabalu | AUA Aruba | BDA Bermuda
BGI Barbados | UVF Saint Lucia | KTI Phnom Penh | JRO Kilimanjaro | GIG Rio de Janeiro | SDU Rio de Janeiro
GRU São Paulo | CGH São Paulo | LED St Petersburg | SPG St Petersburg
"""
"""The name that results show where the table has a suburb, an island's longer name or a name in another language."""

SERVED_FROM = """
KIX Kyoto | KIX Nara | ITM Kobe | DPS Ubud | CUN Tulum | CUN Playa del Carmen | NCE Monaco | NCE Cannes | NAP Amalfi
NAP Sorrento | NAP Pompeii | PSA Lucca | FLR Siena | JED Mecca | TLV Jerusalem | NAV Cappadocia | AMM Petra | BRU Bruges
BRU Ghent | BTS Bratislava | ZRH Lucerne | GVA Lausanne | GVA Chamonix | BRN Bern | EZE Tigre | CUZ Machu Picchu
GYE Galápagos | IPC Easter Island | JRO Serengeti | AMS The Hague | LHR Oxford | LHR Cambridge | BHX Stratford-upon-Avon
EDI St Andrews | MUC Neuschwanstein | SZG Hallstatt | SJD Cabo San Lucas | GRU Santos | HNL Waikiki | HNL Oahu
PPT Tahiti | NAN Fiji | LAS Grand Canyon | SFO Silicon Valley | SFO Palo Alto | SFO Napa | LAX Hollywood
LAX Santa Monica | LAX Beverly Hills | MCO Disney World | EWR Jersey City | JFK Brooklyn | JFK Manhattan | HER Crete
FNC Madeira | PDL Azores | LIS Sintra | AGP Marbella | MRU Mauritius | RUN Réunion | SEZ Seychelles | MLE Maldives
PMI Mallorca | PMI Majorca | SID Cape Verde | DPS Seminyak | HKT Patong | LGK Langkawi | CEB Mactan | FCO Vatican City
KEF Blue Lagoon | SAI Angkor | DEL Delhi | CTG Cartagena de Indias | LPA Las Palmas | SSH Sinai | CAI Giza | RAK Atlas
LCA Cyprus | MLA Valletta | IGR Iguazú | IGR Iguazu Falls
"""
"""Places that people travel to but that have no airport of their own in the table, and the airport to fly to."""

COUNTRY_OF_CITY = {"Basel": "CH", "Monaco": "MC", "Vatican City": "VA"}
"""Cities that are in another country than the airport, by ISO 3166 code."""

SYNONYMS = """
BOM Bombay | BLR Bengaluru | MAA Madras | CCU Calcutta | SGN Saigon | SGN Ho Chi Minh | RGN Rangoon | KBP Kiev
RAK Marrakesh | FEZ Fes | CUZ Cuzco | LED Saint Petersburg | JFK New York City | JFK NY | LAX LA | LAX Los Angeles CA
SFO SF | SFO San Fran | LAS Vegas | MSY NOLA | PHL Philly | IAD Washington DC | IAD DC | GIG Rio | GRU Sampa
MUC München | CGN Köln | FCO Roma | MXP Milano | VCE Venezia | FLR Firenze | NAP Napoli | TRN Torino | GOA Genova
LIS Lisboa | SVQ Sevilla | VIE Wien | PRG Praha | WAW Warszawa | CPH København | GVA Genève | ZRH Zürich | ATH Athina
SVO Moskva | OTP Bucuresti | BEG Beograd | BRU Bruxelles | MEX CDMX | MEX Ciudad de México | HAV La Habana
SSH Sharm | SSH Sharm El Sheikh | PEK Peking | CAN Canton | TPE Taipeh | HND Tokio | AKL Tamaki Makaurau | DAD Danang
HNL Hawaii | OGG Kahului | YQB Quebec | YUL Montréal | KWI Kuwait | PTY Panama | SIN Singapur | HKG HK | AUH Abudhabi
DUS Düsseldorf | NUE Nürnberg | HAJ Hanover | BSL Bâle | JOG Jogja | DPS Denpasar | CMB Sri Lanka | KEF Iceland
"""
"""Other names of a city that has an airport; results show the usual one."""

COUNTRY_SYNONYMS = """
US USA | US U S A | US America | US United States of America | US American | GB UK | GB United Kingdom | GB Britain
GB Great Britain | GB British | GB England | GB Scotland | GB Wales | AE UAE | AE Emirates | AE Emirati | KR South Korea
KR Korea | KR Korean | KP North Korea | CZ Czechia | CZ Czech | TR Türkiye | TR Turkish | CI Ivory Coast | CD DR Congo
CG Congo | MM Myanmar | MM Burma | TL Timor-Leste | SZ Eswatini | MO Macao | CV Cabo Verde | NL Holland | NL Dutch
NL The Netherlands | VA Vatican | SA KSA | SA Saudi | SA Saudi Arabian | EG Egyptian | FR French | DE German
IT Italian | ES Spanish | PT Portuguese | GR Greek | IE Irish | CH Swiss | AT Austrian | BE Belgian | SE Swedish
NO Norwegian
DK Danish | FI Finnish | PL Polish | HU Hungarian | RO Romanian | UA Ukrainian | RU Russian | RU Russian Federation
JP Japanese | CN Chinese | IN Indian | PK Pakistani | BD Bangladeshi | LK Sri Lankan | NP Nepali | NP Nepalese | TH Thai
VN Viet Nam | VN Vietnamese | PH Filipino | PH Philippine | ID Indonesian | MY Malaysian | SG Singaporean
AU Australian | NZ New Zealander | NZ Kiwi | CA Canadian | MX Mexican | BR Brazilian | AR Argentine | AR Argentinian
CL Chilean
CO Colombian | PE Peruvian | VE Venezuelan | ZA South African | NG Nigerian | KE Kenyan | GH Ghanaian | ET Ethiopian
MA Moroccan | TN Tunisian | DZ Algerian | LY Libyan | SD Sudanese | JO Jordanian | LB Lebanese | SY Syrian | IQ Iraqi
IR Iranian | IL Israeli | PS Palestinian | QA Qatari | KW Kuwaiti | BH Bahraini | OM Omani | YE Yemeni
"""
"""Names of countries and of their people besides those in the time zone database, by ISO 3166 code."""

COUNTRY_NAMES = """
GB United Kingdom | KR South Korea | KP North Korea | CZ Czechia | MM Myanmar | CD DR Congo | CG Congo | XK Kosovo
AS American Samoa | WS Samoa | SZ Eswatini | CF Central African Republic | TC Turks and Caicos Islands
VG British Virgin Islands | VI US Virgin Islands
"""
"""The names that results show where the time zone database abbreviates."""

US_STATES = """
AL Alabama | AK Alaska | AZ Arizona | AR Arkansas | CA California | CO Colorado | CT Connecticut | DE Delaware
DC District of Columbia | FL Florida | GA Georgia | HI Hawaii | ID Idaho | IL Illinois | IN Indiana | IA Iowa
KS Kansas | KY Kentucky | LA Louisiana | ME Maine | MD Maryland | MA Massachusetts | MI Michigan | MN Minnesota
MS Mississippi
MO Missouri | MT Montana | NE Nebraska | NV Nevada | NH New Hampshire | NJ New Jersey | NM New Mexico | NY New York
NC North Carolina | ND North Dakota | OH Ohio | OK Oklahoma | OR Oregon | PA Pennsylvania | PR Puerto Rico
RI Rhode Island | SC South Carolina | SD South Dakota | TN Tennessee | TX Texas | UT Utah | VT Vermont | VA Virginia
WA Washington | WV West Virginia | WI Wisconsin | WY Wyoming
"""
"""Postal codes of the United States' states, for "Paris, TX"."""


def entries(table: str) -> list[tuple[str, str]]:
    """Read one of the tables above: pairs of a code and a name."""
    pairs = (entry.strip().partition(" ") for line in table.strip().splitlines() for entry in line.split("|"))
    return [(code, name) for code, _, name in pairs]
